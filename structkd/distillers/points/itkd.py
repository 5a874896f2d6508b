"""itKD: features of either network, compressed and decoded again, become the other's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from structkd.distillers.base import Distiller
from structkd.distillers.checks import positive
from structkd.distillers.connectors import Connector
from structkd.distillers.grids import resized
from structkd.distillers.points.objects import (
    TARGETS,
    ObjectCells,
    bounds_of,
    check_range,
    object_cells,
    paired_logits,
)
from structkd.errors import ConfigError, DataError
from structkd.losses.features import feature_loss
from structkd.structure import Structure

#: Where the columns of an encoded box are cut into the branches of a head: place | height | sizes | heading | velocity.
BRANCHES = (2, 3, 6, 8)


class ITKD(Distiller):
    r"""Interchange transfer through one channel-wise autoencoder, and attention among the outputs of the head.

    Cho et al., "itKD: Interchange Transfer-based Knowledge Distillation for 3D Object Detection", CVPR 2023; formulas
    from the authors' code (github.com/hyeon-jo/interchange-transfer-KD).

    .. math::
        L_{interchange} = T(u(D(E(u(s)))), t) + T(D(E(t)), s), \qquad
        L_{code} = |E(u(s)) - E(t)|, \qquad
        L_{attention} = \frac{1}{B} \sum_b \frac{1}{|O_b|} \sum_{o \in O_b} \| A(h_s)[o] - A(h_t)[o] \|_1

    s and t are maps, u a learned 1 x 1 map to the teacher's channels, E and D the encoder and the decoder of 1 x 1 maps
    that both networks share, :math:`T(a, b) = |a - b| + (a - b)^2_O`: the mean absolute difference over the map and
    the mean squared one over the cells of object centres. h [O_b, D] are all outputs of the head at the centres of
    a scene's objects; A is self-attention among its D columns, once over all of them and once within each branch
    (scores, place, height, sizes, heading), the two mixed by a learned linear map.

    Args:
        student_channels, teacher_channels: C of the field on either side.
        field: the map [B, C, H, W] that is interchanged.
        hidden: channels of the encoder's layers; the decoder has them in reverse.
        head_channels: D = A (K + columns of `box_map`), with A anchors (or 1) and K classes; None leaves the attention
            out and with it what it reads.
        point_range: x0, y0, z0, x1, y1, z1 in metres that the maps cover; None asks the student's `detection`.

    Reads `field` of both sides (teacher maps of another size are resized to the student's), the student's `boxes`,
    `labels`, `boxes_batch`, and for the attention `logits` and `box_map` of both sides. Returns `interchange`, `code`
    and `attention`. The last two are zero when the sides are equal and u is the identity; the first only if D decodes E
    besides. Published weights: half for the sum of these losses, half for the detector's own.

    Differences: the autoencoder is trained by these losses alone, as published, so code and attention can shrink with
    E and the mixing map: watch them beside the accuracy. Sums over objects are divided by the objects of a scene, and
    the attention's products by the square root of their number; theirs take the number of rows that objects are padded
    to. Scores go in after the sigmoid on both sides. One group of classes instead of a sum over tasks.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        field: str = "neck",
        hidden: Sequence[int] = (128, 64, 32),
        head_channels: int | None = None,
        point_range: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if not hidden or min(hidden) < 1:
            raise ConfigError(f"ITKD(hidden={tuple(hidden)}): expected the channels of one layer or more.")
        self.bounds = check_range("ITKD", point_range)
        self.field, self.reads = field, frozenset({field})
        self.reads_student = TARGETS if self.bounds is not None else TARGETS | {"detection"}
        self.lift = Connector(student_channels, teacher_channels)
        self.encoder = _layers([teacher_channels, *hidden])
        self.decoder = _layers([*reversed(hidden), student_channels])
        self.mix: nn.Linear | None = None
        if head_channels is not None:
            positive("ITKD", head_channels=head_channels)
            self.reads |= {"logits", "box_map"}
            self.mix = nn.Linear(2 * head_channels, head_channels)

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        f_s, f_t = student[self.field], teacher[self.field]
        if f_s.dim() != 4 or f_t.dim() != 4 or f_s.size(0) != f_t.size(0):
            raise DataError(
                f"ITKD: {self.field} has shapes {tuple(f_s.shape)} (student) and {tuple(f_t.shape)} (teacher); "
                "expected maps [B, C, H, W] of the same scenes."
            )
        shape = (f_s.size(2), f_s.size(3))
        f_t = resized(f_t, shape)
        bounds = bounds_of(student, self.bounds, "ITKD")
        objects = object_cells(student, bounds, shape)
        code_s, code_t = self.encoder(self.lift(f_s)), self.encoder(f_t)
        losses = {
            "interchange": transfer(self.lift(self.decoder(code_s)), f_t, objects)
            + transfer(self.decoder(code_t), f_s, objects),
            "code": feature_loss(code_s, code_t, "l1"),
        }
        if self.mix is not None:
            z_s, z_t = paired_logits(student, teacher, "ITKD")
            if z_s.shape != z_t.shape:
                raise DataError(
                    "ITKD: the heads of student and teacher are on different grids; set head_channels=None."
                )
            objects = object_cells(student, bounds, (z_s.size(3), z_s.size(4)))
            losses["attention"] = self._attention_loss(self.mix, student, teacher, objects)
        return losses

    @staticmethod
    def _attention_loss(mix: nn.Linear, student: Structure, teacher: Structure, objects: ObjectCells) -> Tensor:
        sides = [head_outputs(side, objects) for side in (student, teacher)]
        columns = sum(part.size(1) for part in sides[0])
        if columns != mix.out_features:
            raise DataError(f"ITKD: the heads have {columns} channels, but head_channels is {mix.out_features}.")
        total, scenes = (mix.weight.sum() + mix.bias.sum()) * 0, objects.scene.unique()
        for scene in scenes:
            own = objects.scene == scene
            a_s, a_t = (mix(self_attention([part[own] for part in parts])) for parts in sides)
            total = total + (a_s - a_t).abs().sum(1).mean()
        return total / max(scenes.numel(), 1)


def transfer(decoded: Tensor, f: Tensor, objects: ObjectCells) -> Tensor:
    """Mean absolute difference of maps [B, C, H, W], and mean squared one over the cells of object centres."""
    scene, _, row, column, _ = objects
    ours, theirs = (value[scene, :, row, column] for value in (decoded, f))
    return feature_loss(decoded, f, "l1") + feature_loss(ours, theirs, batch=scene)


def head_outputs(structure: Structure, objects: ObjectCells) -> list[Tensor]:
    """What each branch of a head says at the centres of objects: scores [M, A K], then [M, A columns] each.

    Columns of an encoded box are its place (2), its height, its sizes (3), its heading (1 or 2) and, if any, its
    velocity (2).
    """
    scene, _, row, column, _ = objects
    scores = structure.logits[scene, :, :, row, column].sigmoid()
    box = structure.box_map[scene, :, :, row, column]
    parts = [scores, *box.tensor_split(BRANCHES, dim=2)]
    return [part.flatten(1) for part in parts if part.size(2)]


def self_attention(parts: Sequence[Tensor]) -> Tensor:
    """Attention among all columns beside attention among those of each part: [n, 2 D] of parts [n, d] with sum D."""
    return torch.cat([_attend(torch.cat(list(parts), 1)), *(_attend(part) for part in parts)], 1)


def _attend(x: Tensor) -> Tensor:
    """[n, d] columns as mixtures of columns, by their inner products over the n objects."""
    return x @ torch.softmax(x.t() @ x / x.size(0) ** 0.5, dim=0)


def _layers(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [Connector(width_in, width_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
