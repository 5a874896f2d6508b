"""Where the labelled objects lie on a head's map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from structkd.errors import ConfigError, DataError, WiringError
from structkd.models.points.box_coder import sine_difference
from structkd.models.points.gaussian import MIN_RADIUS, draw_gaussians, gaussian_radius
from structkd.ops.precision import accumulator
from structkd.structure import Structure

#: What locates the objects of a student's Structure.
TARGETS = frozenset({"boxes", "labels", "boxes_batch"})


class ObjectCells(NamedTuple):
    """The objects whose centres are on a map, [M] int64 each.

    Attributes:
        scene, label: of each object.
        row, column: cell of its centre.
        radius: of its Gaussian, in cells.
    """

    scene: Tensor
    label: Tensor
    row: Tensor
    column: Tensor
    radius: Tensor

    def heat(self, num_scenes: int, shape: tuple[int, int]) -> Tensor:
        """[B, H, W] a Gaussian of height 1 around each object, the largest where several meet."""
        scene = self.scene
        drawn = draw_gaussians(num_scenes, 1, shape, scene, torch.zeros_like(scene), self.row, self.column, self.radius)
        return drawn[:, 0]


@torch.no_grad()
def object_cells(student: Structure, bounds: Sequence[float], shape: tuple[int, int]) -> ObjectCells:
    """The student's labelled objects on a map of `shape` = H, W cells that covers x0, y0, x1, y1 = `bounds` metres.

    Objects off the map, and boxes without an extent, are left out. The Gaussians are those that CenterPoint is trained
    with (`structkd.models.points.gaussian`).
    """
    boxes = student.boxes.double()
    x0, y0, x1, y1 = bounds
    cell = boxes.new_tensor([(x1 - x0) / shape[1], (y1 - y0) / shape[0]])
    place = ((boxes[:, :2] - boxes.new_tensor([x0, y0])) / cell).floor().long()
    column, row = place.unbind(1)
    inside = (column >= 0) & (column < shape[1]) & (row >= 0) & (row < shape[0]) & (boxes[:, 3:5] > 0).all(1)
    radius = gaussian_radius(*(boxes[inside, 3:5] / cell).unbind(1)).long().clamp(min=MIN_RADIUS)
    return ObjectCells(student.boxes_batch[inside], student.labels[inside], row[inside], column[inside], radius)


def check_range(reader: str, point_range: Sequence[float] | None) -> tuple[float, ...] | None:
    """x0, y0, x1, y1 of a point range x0, y0, z0, x1, y1, z1 in metres; None stays None.

    Raises:
        ConfigError: not six numbers, or an end that is not beyond its beginning.
    """
    if point_range is None:
        return None
    if len(point_range) != 6 or not all(low < high for low, high in zip(point_range[:3], point_range[3:])):
        raise ConfigError(f"{reader}(point_range={list(point_range)}): expected x0, y0, z0, x1, y1, z1 in metres.")
    x0, y0, _, x1, y1, _ = (float(value) for value in point_range)
    return x0, y0, x1, y1


def bounds_of(student: Structure, given: tuple[float, ...] | None, reader: str) -> Sequence[float]:
    """What the maps cover: `given`, or what the student's detection says of itself.

    Raises:
        WiringError: neither knows.
    """
    bounds = given if given is not None else getattr(student.get("detection"), "bounds", None)
    if bounds is None:
        raise WiringError(f"{reader}: the student's detection does not say what its maps cover; set point_range.")
    return bounds


def paired_logits(student: Structure, teacher: Structure, reader: str) -> tuple[Tensor, Tensor]:
    """Class scores [B, A, K, H, W] of both sides before the sigmoid, each on its own grid.

    Raises:
        DataError: other shapes, or sides that differ in B, A or K.
    """
    z_s, z_t = student.logits, teacher.logits
    if z_s.dim() != 5 or z_t.dim() != 5 or z_s.shape[:3] != z_t.shape[:3]:
        raise DataError(
            f"{reader}: logits have shapes {tuple(z_s.shape)} (student) and {tuple(z_t.shape)} (teacher); expected "
            "[B, A, K, H, W] with the same scenes, anchors and classes."
        )
    return z_s.to(accumulator(z_s)), z_t.to(accumulator(z_t))


def paired_boxes(
    student: Structure, teacher: Structure, reader: str, place: tuple[Tensor, Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Encoded boxes [P, D] of both sides at scene, anchor, row and column [P] each.

    Of anchor heads (D = 7) the last column, an angle up to a half turn, comes as the sine of the difference
    (`sine_difference`); a head without anchors (D = 8 or 10) encodes sine and cosine itself.

    Raises:
        DataError: maps of different shape: encoded boxes are relative to the cells of their grid.
    """
    ours, theirs = student.box_map, teacher.box_map
    if ours.shape != theirs.shape or ours.dim() != 5:
        raise DataError(
            f"{reader}: box_map has shape {tuple(ours.shape)} (student) and {tuple(theirs.shape)} (teacher); expected "
            "[B, A, D, H, W] on one grid. Leave the boxes out (box_weight=0) where the grids differ."
        )
    scene, anchor, row, column = place
    dtype = accumulator(ours, theirs)
    ours, theirs = (side[scene, anchor, :, row, column].to(dtype) for side in (ours, theirs))
    return sine_difference(ours, theirs) if ours.size(1) == 7 else (ours, theirs)
