"""What a detector is to find, checked and matched with points and boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.errors import DataError
from structkd.ops.points_in_boxes import box_of_points
from structkd.ops.rotated_iou import iou_3d


def check_targets(boxes: Tensor, labels: Tensor, boxes_batch: Tensor, num_classes: int) -> None:
    """`DataError` unless these are boxes [M, 7 or more], labels [M] within the classes, and scenes [M]."""
    count = boxes.size(0)
    if boxes.dim() != 2 or boxes.size(1) < 7 or labels.shape != (count,) or boxes_batch.shape != (count,):
        raise DataError(
            f"Got boxes {tuple(boxes.shape)}, labels {tuple(labels.shape)} and boxes_batch "
            f"{tuple(boxes_batch.shape)}; expected [M, 7 or more], [M] and [M]."
        )
    if count and (labels.min() < 0 or labels.max() >= num_classes):
        raise DataError(f"labels go from {labels.min()} to {labels.max()}; the detector knows {num_classes} classes.")


@torch.no_grad()
def owners(pos: Tensor, batch: Tensor, boxes: Tensor, boxes_batch: Tensor, num_scenes: int) -> Tensor:
    """[N] row of the first box [M, 7] of a point's scene that holds the point, -1 for none."""
    owner = torch.full_like(batch, -1)
    for scene in range(num_scenes):
        mine, box = batch == scene, (boxes_batch == scene).nonzero().squeeze(1)
        if box.numel():
            found = box_of_points(pos[mine], boxes[box])
            owner[mine] = torch.where(found >= 0, box[found], -1)
    return owner


@torch.no_grad()
def best_overlap(
    rois: Tensor,
    rois_labels: Tensor,
    rois_batch: Tensor,
    boxes: Tensor,
    labels: Tensor,
    boxes_batch: Tensor,
    num_scenes: int,
) -> tuple[Tensor, Tensor]:
    """For each region [R, 7] its largest overlap with a box [M, 7] of its scene and class.

    Returns:
        iou: [R] intersection over union of the volumes, 0 where there is no such box.
        owner: [R] row of that box, the first of several; 0 where there is none.
    """
    iou, owner = rois.new_zeros(rois.size(0)), torch.zeros_like(rois_batch)
    for scene in range(num_scenes):
        mine, box = rois_batch == scene, (boxes_batch == scene).nonzero().squeeze(1)
        if box.numel() == 0 or not bool(mine.any()):
            continue
        overlap = iou_3d(rois[mine], boxes[box].to(rois.dtype))
        overlap = overlap * (rois_labels[mine].unsqueeze(1) == labels[box])
        iou[mine], best = overlap.max(1)
        owner[mine] = box[best]
    return iou, owner
