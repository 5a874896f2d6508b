"""Non-maximum suppression in all the forms mmcv's extension has it in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmcv_ops.iou import PLANE
from mmcv_ops.registry import operator
from structkd.ops.iou_2d import iou_2d
from structkd.ops.nms import nms as keep_upright
from structkd.ops.nms import nms_rotated as keep_turned


@operator("nms", "ops.nms.nms")
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """[K] int64 rows of the boxes x1, y1, x2, y2 that stay, by descending score; equal scores in the order of rows."""
    return keep_upright(_widened(boxes, offset), scores, iou_threshold)


@operator("softnms", "ops.iou_2d.iou_2d")
def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Suppression that lowers scores instead of dropping boxes.

    Args:
        boxes, scores: [N, 4] x1, y1, x2, y2, and [N].
        dets: [N, 5], its first K rows to be filled with box and lowered score.
        iou_threshold: from here on overlap counts (methods 0 and 1).
        sigma: width of the Gaussian (method 2).
        min_score: a box whose score was lowered below it is dropped.
        method: 0 drops, 1 multiplies scores by 1 - IoU, 2 by exp(-IoU^2 / sigma).

    Returns:
        [K] int64 rows by descending lowered score; of equal ones the first row.
    """
    if method not in (0, 1, 2):
        raise NotImplementedError(f"softnms with method {method}; expected 0 (naive), 1 (linear) or 2 (gaussian).")
    wide, left = _widened(boxes, offset), scores.clone()
    alive = torch.ones_like(left, dtype=torch.bool)
    order: list[int] = []
    while bool(alive.any()):
        best = int(left.masked_fill(~alive, -math.inf).argmax())
        alive[best] = False
        dets[len(order), :4], dets[len(order), 4] = boxes[best], left[best]
        order.append(best)
        overlap = iou_2d(wide[best : best + 1], wide).squeeze(0).to(left.dtype)
        if method == 2:
            weight = torch.exp(-(overlap * overlap) / sigma)
        else:
            weight = torch.where(overlap >= iou_threshold, 1 - overlap if method == 1 else 0, 1)
        left = torch.where(alive, left * weight, left)
        alive &= left >= min_score
    return torch.tensor(order, dtype=torch.int64, device=boxes.device)


@operator("nms_match", "ops.iou_2d.iou_2d")
def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """For each box that stays, its row and those of the boxes it suppresses; `dets` [N, 5] holds boxes and scores."""
    order = dets[:, 4].argsort(descending=True, stable=True)
    boxes = dets[order, :4].double()
    left = torch.ones(order.numel(), dtype=torch.bool, device=dets.device)
    groups = []
    for i in range(order.numel()):
        if left[i]:
            taken = (iou_2d(boxes[i : i + 1], boxes).squeeze(0) >= iou_threshold) & left
            taken[: i + 1] = False
            left &= ~taken
            groups.append([int(order[i]), *order[taken].tolist()])
    return groups


@operator("nms_rotated", "ops.nms.nms_rotated")
def nms_rotated(
    dets: Tensor,
    scores: Tensor,
    order: Tensor,
    dets_sorted: Tensor,
    labels: Tensor,
    iou_threshold: float,
    multi_label: bool,
) -> Tensor:
    """[K] int64 rows of the rectangles that stay, by descending score.

    Args:
        dets: [N, 5] x, y, w, h, angle in radians; a sixth column is not looked at.
        scores: [N].
        order: [N] rows by descending score, which settles the order of equal scores.
        dets_sorted: the boxes in that order; not needed here.
        labels: [N], read if `multi_label`: boxes of different labels do not suppress each other.
        iou_threshold: dropped if the intersection over union is above it.
    """
    groups = labels.long()[order] if multi_label else None
    return order[keep_turned(dets[order, :5], _falling(dets), iou_threshold, groups)]


@operator(
    "iou3d_nms3d_forward", "ops.nms.nms_rotated", "exact where corners or edges coincide; the kernel is off there"
)
def iou3d_nms3d_forward(boxes: Tensor, keep: Tensor, num_out: Tensor, nms_overlap_thresh: float) -> None:
    """Fill `keep` with the rows, and `num_out` with the number, of the boxes [N, 7] that stay as seen from above.

    The boxes come by descending score.
    """
    kept = keep_turned(boxes[:, PLANE], _falling(boxes), nms_overlap_thresh)
    _hand_over(kept, keep, num_out)


@operator("iou3d_nms3d_normal_forward", "ops.nms.nms")
def iou3d_nms3d_normal_forward(boxes: Tensor, keep: Tensor, num_out: Tensor, nms_overlap_thresh: float) -> None:
    """As `iou3d_nms3d_forward`, with all yaws taken as 0."""
    centre, half = boxes[:, :2].double(), boxes[:, 3:5].double() / 2
    kept = keep_upright(torch.cat([centre - half, centre + half], 1), _falling(boxes), nms_overlap_thresh)
    _hand_over(kept, keep, num_out)


def _widened(boxes: Tensor, offset: int) -> Tensor:
    boxes = boxes[:, :4].to(torch.float64, copy=True)
    boxes[:, 2:] += offset
    return boxes


def _falling(boxes: Tensor) -> Tensor:
    return -torch.arange(boxes.size(0), dtype=torch.float64, device=boxes.device)


def _hand_over(kept: Tensor, keep: Tensor, num_out: Tensor) -> None:
    keep[: kept.numel()] = kept.to(keep.device)
    num_out.fill_(kept.numel())
