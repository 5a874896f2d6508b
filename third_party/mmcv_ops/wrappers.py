"""mmcv's Python functions that are written for CUDA alone, freed of it.

Each replaces what a class or module of `mmcv.ops` has, under its own name, so that every place that imported it
sees the new one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmcv_ops.boxes import points_in_boxes_all_forward, points_in_boxes_part_forward
from mmcv_ops.hooks import when_imported
from mmcv_ops.neighbours import furthest_point_sampling_forward, knn_forward
from structkd.errors import DataError


def furthest_point_sample(ctx: Any, points_xyz: Tensor, num_points: int) -> Tensor:
    """[B, num_points] int32 places in `points_xyz` [B, N, 3]."""
    b, n = points_xyz.shape[:2]
    out = points_xyz.new_zeros((b, num_points), dtype=torch.int32)
    furthest_point_sampling_forward(points_xyz.float(), points_xyz.new_empty(0), out, b=b, n=n, m=num_points)
    ctx.mark_non_differentiable(out)
    return out


def knn(ctx: Any, k: int, xyz: Tensor, center_xyz: Tensor | None = None, transposed: bool = False) -> Tensor:
    """[B, k, M] int32 places of the points `xyz` [B, N, 3] nearest to `center_xyz` [B, M, 3], or [B, 3, ...] both."""
    centre = xyz if center_xyz is None else center_xyz
    if transposed:
        xyz, centre = xyz.transpose(1, 2), centre.transpose(1, 2)
    b, m, _ = centre.shape
    idx = centre.new_zeros((b, m, k), dtype=torch.int32)
    knn_forward(xyz.float(), centre.float(), idx, centre.new_zeros(b, m, k).float(), b, xyz.size(1), m, k)
    idx = idx.transpose(1, 2).contiguous()
    ctx.mark_non_differentiable(idx)
    return idx


def points_in_boxes_part(points: Tensor, boxes: Tensor) -> Tensor:
    """[B, N] int32: first of `boxes` [B, M, 7] that holds each of `points` [B, N, 3], -1 for none."""
    _check(points, boxes)
    out = points.new_full(points.shape[:2], -1, dtype=torch.int32)
    points_in_boxes_part_forward(boxes, points, out)
    return out


def points_in_boxes_all(points: Tensor, boxes: Tensor) -> Tensor:
    """[B, N, M] int32: 1 where a point of [B, N, 3] lies in a box of [B, M, 7]."""
    _check(points, boxes)
    out = points.new_zeros((*points.shape[:2], boxes.size(1)), dtype=torch.int32)
    points_in_boxes_all_forward(boxes, points, out)
    return out


def _check(points: Tensor, boxes: Tensor) -> None:
    if points.dim() != 3 or points.size(2) != 3 or boxes.dim() != 3 or boxes.size(2) != 7 or len(points) != len(boxes):
        raise DataError(f"Got points {tuple(points.shape)}, boxes {tuple(boxes.shape)}; expected [B, N, 3], [B, M, 7].")


def _free_sampling(module: Any) -> None:
    module.FurthestPointSampling.forward = staticmethod(furthest_point_sample)


def _free_knn(module: Any) -> None:
    module.KNN.forward = staticmethod(knn)


def _free_boxes(module: Any) -> None:
    module.points_in_boxes_part = points_in_boxes_part
    module.points_in_boxes_all = points_in_boxes_all


def free_of_cuda() -> None:
    """Arrange for the replacements, whenever mmcv.ops is imported."""
    when_imported("mmcv.ops.furthest_point_sample", _free_sampling)
    when_imported("mmcv.ops.knn", _free_knn)
    when_imported("mmcv.ops.points_in_boxes", _free_boxes)
