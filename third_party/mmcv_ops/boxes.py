"""Which points lie in which upright boxes [.., 7]: x, y, z of the centre of the bottom face, sizes, yaw."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcv_ops.registry import operator
from structkd.ops.points_in_boxes import points_in_boxes

_ROUNDING = "float64 where the kernels round, for points within rounding of a face"


def inside(points: Tensor, boxes: Tensor) -> Tensor:
    """[N, M] bool of points [N, 3 or more] and boxes [M, 7]; the lids belong to a box, its sides do not, as in mmcv."""
    boxes = boxes.to(torch.float64, copy=True)
    # A point is strictly inside if it is within the next smaller number.
    boxes[:, 3:5] = torch.nextafter(boxes[:, 3:5], torch.full_like(boxes[:, 3:5], -torch.inf))
    return points_in_boxes(points, boxes)


@operator("points_in_boxes_cpu_forward", "ops.points_in_boxes", _ROUNDING)
def points_in_boxes_cpu_forward(boxes: Tensor, pts: Tensor, pts_indices: Tensor) -> None:
    """Fill `pts_indices` [M, N] with 1 where point n of [N, 3] lies in box m of [M, 7]."""
    pts_indices.copy_(inside(pts, boxes).t())


@operator("points_in_boxes_part_forward", "ops.points_in_boxes", _ROUNDING)
def points_in_boxes_part_forward(boxes: Tensor, pts: Tensor, box_idx_of_points: Tensor) -> None:
    """Fill `box_idx_of_points` [B, N] with the first of boxes [B, M, 7] that holds each point [B, N, 3], else -1."""
    for own_boxes, own_points, out in zip(boxes, pts, box_idx_of_points):
        if own_boxes.size(0):
            found, first = inside(own_points, own_boxes).max(1)
            out.copy_(torch.where(found, first, -1))
        else:
            out.fill_(-1)


@operator("points_in_boxes_all_forward", "ops.points_in_boxes", _ROUNDING)
def points_in_boxes_all_forward(boxes: Tensor, pts: Tensor, box_idx_of_points: Tensor) -> None:
    """Fill `box_idx_of_points` [B, N, M] with 1 where a point [B, N, 3] lies in a box [B, M, 7]."""
    for own_boxes, own_points, out in zip(boxes, pts, box_idx_of_points):
        out.copy_(inside(own_points, own_boxes))
