"""Non-maximum suppression of axis-aligned and of turned boxes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from structkd.backends import Backend, Op
from structkd.errors import DataError
from structkd.ops.iou_2d import iou_2d
from structkd.ops.rotated_iou import ROUNDING, TINY, near_pairs, rotated_iou
from structkd.ops.triton.launch import refusals

#: Boxes that the kernel has room for.
MOST = 16384


@torch.no_grad()
def nms(
    boxes: Tensor, scores: Tensor, threshold: float, groups: Tensor | None = None, *, backend: str | None = None
) -> Tensor:
    """Greedy suppression: from the highest score down, a box is dropped if a kept one overlaps it too much.

    Args:
        boxes: [N, 4] axis-aligned boxes x1, y1, x2, y2.
        scores: [N]; equal scores rank in the order of the rows.
        threshold: dropped if the intersection over union is above it.
        groups: [N] integers (class or sample); boxes of different groups do not suppress each other.
        backend: forces a backend, see `structkd.backends`.

    Returns:
        [K] int64 ids of the kept boxes by descending score.

    Raises:
        DataError: shapes that do not fit.
    """
    return _ranked(NMS, boxes, scores, threshold, groups, columns=4, backend=backend)


@torch.no_grad()
def nms_rotated(
    boxes: Tensor, scores: Tensor, threshold: float, groups: Tensor | None = None, *, backend: str | None = None
) -> Tensor:
    """As `nms`, for turned boxes [N, 5] x, y, l, w, yaw (see `structkd.ops.rotated_iou`)."""
    return _ranked(NMS_ROTATED, boxes, scores, threshold, groups, columns=5, backend=backend)


def _ranked(
    op: Op,
    boxes: Tensor,
    scores: Tensor,
    threshold: float,
    groups: Tensor | None,
    columns: int,
    backend: str | None,
) -> Tensor:
    rows = (boxes.size(0),)
    if (
        boxes.dim() != 2
        or boxes.size(1) != columns
        or scores.shape != rows
        or (groups is not None and groups.shape != rows)
    ):
        grouped = "" if groups is None else f", groups {tuple(groups.shape)}"
        raise DataError(
            f"Got boxes {tuple(boxes.shape)}, scores {tuple(scores.shape)}{grouped}; expected [N, {columns}] and [N]."
        )
    order = scores.argsort(descending=True, stable=True)
    groups = None if groups is None else groups[order]
    return order[op(boxes[order].double(), threshold, groups, backend=backend)]


def _reference(boxes: Tensor, threshold: float, groups: Tensor | None) -> Tensor:
    centred = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    return _keep(centred, boxes, iou_2d, threshold, groups)


def _reference_rotated(boxes: Tensor, threshold: float, groups: Tensor | None) -> Tensor:
    return _keep(boxes, boxes, rotated_iou, threshold, groups)


def _keep(
    centred: Tensor, boxes: Tensor, iou: Callable[..., Tensor], threshold: float, groups: Tensor | None
) -> Tensor:
    """[N] bool: not overlapped by a kept box of higher rank.

    The definition is solved by iteration, every box at once: after t rounds at least the t best are final, and
    usually all of them are after a few.
    """
    pairs = []
    for i, j in near_pairs(centred, centred):
        counts = i < j if groups is None else (i < j) & (groups[i] == groups[j])
        i, j = i[counts], j[counts]
        above = iou(boxes[i], boxes[j], aligned=True) > threshold
        pairs.append((i[above], j[above]))
    keep = boxes.new_ones(boxes.size(0), dtype=torch.bool)
    if not pairs:
        return keep
    i, j = (torch.cat(ends) for ends in zip(*pairs))
    while True:
        before, keep = keep, torch.ones_like(keep)
        keep[j[before[i]]] = False
        if torch.equal(before, keep):
            return keep


def _triton(boxes: Tensor, threshold: float, groups: Tensor | None) -> Tensor:
    from structkd.ops.triton.nms import kept

    return kept(boxes, threshold, groups, boxes.size(1) == 5, TINY, ROUNDING)


def _no_triton(boxes: Tensor | None = None, threshold: float = 0, groups: Tensor | None = None) -> list[str]:
    reasons = refusals(boxes, groups)
    if boxes is not None and not reasons and boxes.size(0) > MOST:
        return [f"{boxes.size(0)} boxes are more than {MOST}"]
    return reasons


#: Both take boxes by descending rank (float64), the threshold and groups, and return which are kept, [N] bool.
NMS = Op("nms", [Backend("triton", _triton, _no_triton), Backend("reference", _reference)])
NMS_ROTATED = Op("nms_rotated", [Backend("triton", _triton, _no_triton), Backend("reference", _reference_rotated)])
