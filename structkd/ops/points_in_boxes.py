"""Which points lie in which upright boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.backends import Backend, Op
from structkd.errors import DataError

#: Points times boxes compared at once.
BLOCK = 1 << 20


@torch.no_grad()
def points_in_boxes(points: Tensor, boxes: Tensor, *, backend: str | None = None) -> Tensor:
    """Membership of every point in every box; faces belong to the box.

    Args:
        points: [N, 3 or more] points x, y, z, ... (other columns are not looked at).
        boxes: [M, 7] boxes x, y, z, l, w, h, yaw in the same frame (z up): (x, y, z) is the centre of the BOTTOM face.
        backend: forces a backend, see `structkd.backends`.

    Returns:
        [N, M] bool, computed in float64; `.sum(0)` counts the points of each box. A point with a NaN is in no box.

    Raises:
        DataError: shapes that do not fit.
    """
    if points.dim() != 2 or points.size(1) < 3 or boxes.dim() != 2 or boxes.size(1) != 7:
        raise DataError(
            f"Got points {tuple(points.shape)} and boxes {tuple(boxes.shape)}; expected [N, 3 or more] and [M, 7]."
        )
    return POINTS_IN_BOXES(points, boxes, backend=backend)


def box_of_points(points: Tensor, boxes: Tensor, *, backend: str | None = None) -> Tensor:
    """[N] int64: the first box that holds each point, -1 for none; takes what `points_in_boxes` does."""
    if boxes.size(0) == 0:
        return points.new_full((points.size(0),), -1, dtype=torch.int64)
    found, first = points_in_boxes(points, boxes, backend=backend).max(1)
    return torch.where(found, first, -1)


def _reference(points: Tensor, boxes: Tensor) -> Tensor:
    x, y, z = points[:, :3].double().t().contiguous()
    inside = torch.empty(boxes.size(0), points.size(0), dtype=torch.bool, device=points.device)
    rows = max(1, BLOCK // max(points.size(0), 1))
    for start in range(0, boxes.size(0), rows):
        bx, by, bz, length, width, height, yaw = boxes[start : start + rows].double().t().unsqueeze(2)
        dx, dy, dz = x - bx, y - by, z - bz
        along, across = dx * yaw.cos() + dy * yaw.sin(), dy * yaw.cos() - dx * yaw.sin()
        inside[start : start + rows] = (
            (along.abs_() <= length / 2) & (across.abs_() <= width / 2) & (dz >= 0) & (dz <= height)
        )
    return inside.t()


POINTS_IN_BOXES = Op("points_in_boxes", [Backend("reference", _reference)])
