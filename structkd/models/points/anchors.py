"""Anchors: boxes of typical sizes at every cell of a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from structkd.errors import ConfigError, nearest

#: 1.57 instead of a quarter turn is what the published networks were trained with.
ROTATIONS = (0.0, 1.57)


@dataclass(frozen=True)
class Anchor:
    """The anchor of a class, and which overlaps make it answer for an object.

    Attributes:
        size: l, w, h in metres.
        z: height of the bottom face in metres.
        positive: an anchor belongs to the object that it overlaps most if their intersection over union, seen from
            above with boxes turned to the nearest quarter, is at least this.
        negative: background below this, neither in between. An object that no anchor reaches `positive` for gets its
            best ones, if they overlap by at least this.
    """

    size: tuple[float, float, float]
    z: float
    positive: float
    negative: float


def kitti_anchors(positive: float, negative: float) -> dict[str, Anchor]:
    """The anchors published for KITTI; the two thresholds are those of pedestrians and cyclists."""
    return {
        "Car": Anchor((3.9, 1.6, 1.56), -1.78, 0.6, 0.45),
        "Pedestrian": Anchor((0.8, 0.6, 1.73), -0.6, positive, negative),
        "Cyclist": Anchor((1.76, 0.6, 1.73), -0.6, positive, negative),
    }


def anchors_of(
    classes: Sequence[str], given: Mapping[str, Anchor | Mapping[str, Any]] | None, known: Mapping[str, Anchor]
) -> tuple[Anchor, ...]:
    """One anchor a class: from `given` (an `Anchor` or its fields), else from `known`.

    Raises:
        ConfigError: a class without an anchor, or thresholds that are not 0 < negative <= positive <= 1.
    """
    given = given or {}
    unused = sorted(set(given) - set(classes))
    if unused:
        raise ConfigError(f"anchors names {', '.join(unused)}, not among the classes. {nearest(unused[0], classes)}")
    found = []
    for name in classes:
        if name not in given and name not in known:
            raise ConfigError(f"There is no anchor for class '{name}': add anchors={{'{name}': dict(size=..., ...)}}.")
        anchor = given.get(name, known.get(name))
        anchor = anchor if isinstance(anchor, Anchor) else Anchor(**anchor)  # type: ignore[arg-type]
        if not 0 < anchor.negative <= anchor.positive <= 1:
            raise ConfigError(
                f"Anchor of '{name}': positive={anchor.positive}, negative={anchor.negative}; expected "
                "0 < negative <= positive <= 1."
            )
        found.append(anchor)
    return tuple(found)


@dataclass(frozen=True)
class AnchorGrid:
    """Anchors of S sizes and R headings at each cell of a map [H, W].

    Attributes:
        x: [W] metres, centres of the columns.
        y: [H] metres, centres of the rows.
        sizes: [S, 3] l, w, h.
        z: [S] heights of the bottom faces.
        rotations: [R] radians.
        thresholds: [S, 2] least overlap of a positive anchor, and of one that is not background.
    """

    x: Tensor
    y: Tensor
    sizes: Tensor
    z: Tensor
    rotations: Tensor
    thresholds: Tensor

    @classmethod
    def build(
        cls,
        anchors: Sequence[Anchor],
        bounds: Sequence[float],
        shape: tuple[int, int],
        centred: bool = True,
        rotations: Sequence[float] = ROTATIONS,
    ) -> AnchorGrid:
        """The grid over x0, y0, x1, y1 = `bounds` metres with `shape` = H, W cells.

        Args:
            centred: anchors stand at the centres of cells; else the first and the last stand on the borders and the
                others evenly between (SECOND as published).
        """
        x0, y0, x1, y1 = bounds
        if centred:
            half_x, half_y = (x1 - x0) / shape[1] / 2, (y1 - y0) / shape[0] / 2
            x0, y0, x1, y1 = x0 + half_x, y0 + half_y, x1 - half_x, y1 - half_y
        return cls(
            torch.linspace(x0, x1, shape[1]),
            torch.linspace(y0, y1, shape[0]),
            torch.tensor([anchor.size for anchor in anchors], dtype=torch.float32),
            torch.tensor([anchor.z for anchor in anchors], dtype=torch.float32),
            torch.tensor(rotations, dtype=torch.float32),
            torch.tensor([(anchor.positive, anchor.negative) for anchor in anchors], dtype=torch.float32),
        )

    def to(self, device: torch.device) -> AnchorGrid:
        return AnchorGrid(*(value.to(device) for value in vars(self).values()))

    def boxes(self, kind: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """[N, 7] anchors of `kind` [N] (size * R + heading) at cells `row`, `column` [N]."""
        size, turn = kind // self.rotations.numel(), kind % self.rotations.numel()
        place = torch.stack([self.x[column], self.y[row], self.z[size]], 1)
        return torch.cat([place, self.sizes[size], self.rotations[turn, None]], 1)

    @property
    def shape(self) -> tuple[int, int, int]:
        """A = S * R, H, W."""
        return self.z.numel() * self.rotations.numel(), self.y.numel(), self.x.numel()
