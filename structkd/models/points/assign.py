"""Which anchors answer for which objects."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from structkd.models.points.anchors import AnchorGrid


@dataclass(frozen=True)
class Assignment:
    """What the anchors of a batch are to learn; all others are background.

    Attributes:
        ignored: [I] int64 anchors, as linear ids ((scene * A + kind) * H + row) * W + column, that learn nothing.
        positive: [P] int64 anchors that belong to an object; distinct, ascending.
        target: [P] row of `boxes` each belongs to.
    """

    ignored: Tensor
    positive: Tensor
    target: Tensor


@torch.no_grad()
def assign(grid: AnchorGrid, boxes: Tensor, labels: Tensor, boxes_batch: Tensor, per_class: bool = True) -> Assignment:
    """Anchors to objects by their overlap seen from above, boxes turned to the nearest quarter.

    An anchor is positive for the object it overlaps most if by at least `positive`; background if all its overlaps
    are below `negative`; ignored in between. Then each object takes all anchors that share its largest overlap, if
    that is at least `negative`; of several objects the last wins.

    Args:
        grid: anchors and their thresholds.
        boxes: [M, 7 or more].
        labels: [M] class; sizes of the grid are by class.
        boxes_batch: [M] scene.
        per_class: an object is matched with the anchors of its own class only; otherwise with all (and gives its own
            class to them).

    Source: mmdet3d's `Max3DIoUAssigner` with `BboxOverlapsNearest3D`, which compare every anchor with every object.
    Differences: an anchor's overlap with a box is a product of one along x and one along y and is zero away from it,
    so only anchors in a small window around each object are looked at.
    """
    sizes, turns = grid.sizes.size(0), grid.rotations.numel()
    if per_class:
        pair_box = torch.arange(boxes.size(0), device=boxes.device)
        pair_size = labels
    else:
        pair_box = torch.arange(boxes.size(0), device=boxes.device).repeat_interleave(sizes)
        pair_size = torch.arange(sizes, device=boxes.device).repeat(boxes.size(0))

    # One row for each box, anchor size and heading.
    turn = torch.arange(turns, device=boxes.device)
    row_box, row_size = pair_box.repeat_interleave(turns), pair_size.repeat_interleave(turns)
    row_kind = row_size * turns + turn.repeat(pair_box.numel())
    half = _upright(grid.sizes[row_size, :2], grid.rotations[row_kind % turns]) / 2
    box_half = _upright(boxes[:, 3:5], boxes[:, 6])[row_box] / 2
    x, along_x = _window(grid.x, boxes[row_box, 0], half[:, 0], box_half[:, 0])
    y, along_y = _window(grid.y, boxes[row_box, 1], half[:, 1], box_half[:, 1])
    shared = along_y[:, :, None] * along_x[:, None, :]
    area = (4 * half.prod(1) + 4 * box_half.prod(1))[:, None, None]
    iou = shared / (area - shared)

    # What overlaps too little for anything is background and drops out here.
    low = grid.thresholds[row_size, 1]
    row, j, i = (iou >= low[:, None, None]).nonzero(as_tuple=True)
    iou, box, size = iou[row, j, i], row_box[row], row_size[row]
    kinds, height, width = grid.shape
    place = boxes_batch[box] * kinds + row_kind[row]
    anchor = (place * height + y[row, j]) * width + x[row, i]

    pair = row // turns  # the largest overlap of an object is taken over the headings, and within one size
    best = iou.new_zeros(pair_box.numel()).scatter_reduce_(0, pair, iou, "amax")
    taken = iou == best[pair]
    touched, slot = anchor.unique(return_inverse=True)
    largest = iou.new_zeros(touched.numel()).scatter_reduce_(0, slot, iou, "amax")
    wins = (iou == largest[slot]) & (iou >= grid.thresholds[size, 0])
    count = boxes.size(0)
    first = slot.new_full((touched.numel(),), count).scatter_reduce_(0, slot[wins], box[wins], "amin")
    last = slot.new_full((touched.numel(),), -1).scatter_reduce_(0, slot[taken], box[taken], "amax")
    target = torch.where(last >= 0, last, first)
    positive = target < count
    return Assignment(touched[~positive], touched[positive], target[positive])


def _upright(sizes: Tensor, yaw: Tensor) -> Tensor:
    """[N, 2] extents along x and y of rectangles l, w turned to the nearest quarter."""
    turn = torch.remainder(yaw + math.pi / 2, math.pi) - math.pi / 2
    return torch.where(turn.abs()[:, None] > math.pi / 4, sizes.flip(1), sizes)


def _window(cells: Tensor, centre: Tensor, half: Tensor, box_half: Tensor) -> tuple[Tensor, Tensor]:
    """Cells [N, n] (of `cells` [L], evenly spaced) around each centre [N], and the length shared there, 0 if none."""
    reach = half + box_half
    low = torch.searchsorted(cells, centre - reach)
    high = torch.searchsorted(cells, centre + reach, right=True)
    most = int((high - low).max()) if low.numel() else 0
    index = low[:, None] + torch.arange(most, device=cells.device)
    inside = index < high[:, None]
    index = torch.where(inside, index, 0)
    at, centre, half, box_half = cells[index], centre[:, None], half[:, None], box_half[:, None]
    shared = torch.minimum(at + half, centre + box_half) - torch.maximum(at - half, centre - box_half)
    return index, torch.where(inside, shared.clamp_min(0), 0)
