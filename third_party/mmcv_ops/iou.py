"""Overlaps of boxes: axis-aligned, turned, and of 3D boxes seen from above."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcv_ops.registry import operator
from structkd.ops.iou_2d import extent, intersection_2d, over_union
from structkd.ops.rotated_iou import rotated_intersection

#: Columns x, y, l, w, yaw of a box with 7.
PLANE = [0, 1, 3, 4, 6]


@operator("bbox_overlaps", "ops.iou_2d.intersection_2d", "0 instead of NaN for boxes without area at offset 0")
def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool = False, offset: int = 0
) -> None:
    """Fill `ious` [N, M] ([N] if aligned) of boxes x1, y1, x2, y2 whose sides are `offset` longer than x2 - x1.

    Mode 0 is intersection over union, 1 over the area of the first box; neither divides by less than `offset`.
    """
    a, b = (_widened(boxes, offset) for boxes in (bboxes1, bboxes2))
    size_a, size_b = extent(a[:, 2:] - a[:, :2]), extent(b[:, 2:] - b[:, :2])
    _fill(ious, intersection_2d(a, b, aligned), size_a, size_b, mode, aligned, least=offset)


@operator("box_iou_rotated", "ops.rotated_iou.rotated_intersection")
def box_iou_rotated(boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool) -> None:
    """Fill `ious` (N * M numbers, N if aligned) of rectangles [N, 5], [M, 5]: x, y, w, h, angle in radians.

    Mode 0 is intersection over union, 1 over the area of the first rectangle.
    """
    a, b = boxes1[:, :5].double(), boxes2[:, :5].double()
    shared = rotated_intersection(a, b, aligned)
    _fill(ious, shared, extent(a[:, 2:4]), extent(b[:, 2:4]), mode_flag, aligned)


@operator(
    "iou3d_boxes_overlap_bev_forward",
    "ops.rotated_iou.rotated_intersection",
    "exact where corners or edges coincide; the kernel is off there",
)
def iou3d_boxes_overlap_bev_forward(boxes_a: Tensor, boxes_b: Tensor, ans_overlap: Tensor) -> None:
    """Fill `ans_overlap` [N, M] with the areas that boxes [N, 7], [M, 7] share from above."""
    ans_overlap.copy_(rotated_intersection(boxes_a[:, PLANE].double(), boxes_b[:, PLANE].double()))


def _widened(boxes: Tensor, offset: int) -> Tensor:
    boxes = boxes[:, :4].to(torch.float64, copy=True)
    boxes[:, 2:] += offset
    return boxes


def _fill(
    out: Tensor, shared: Tensor, size_a: Tensor, size_b: Tensor, mode: int, aligned: bool, least: float = 0
) -> None:
    if mode not in (0, 1):
        raise NotImplementedError(f"Mode {mode} of an overlap; expected 0 (over the union) or 1 (over the first).")
    if mode == 0 and least == 0:
        value = over_union(shared, size_a, size_b, aligned)
    else:
        first = size_a if aligned else size_a[:, None].expand_as(shared)
        whole = first + (size_b if aligned else size_b[None]) - shared if mode == 0 else first
        whole = whole.clamp_min(least)
        value = (shared / whole).where(whole > 0, 0)
    out.copy_(value.reshape(out.shape))
