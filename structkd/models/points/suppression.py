"""From many scored boxes to the few that are reported."""

from __future__ import annotations

from torch import Tensor

from structkd.ops.nms import nms_rotated


def best_boxes(
    boxes: Tensor, scores: Tensor, labels: Tensor, nms_threshold: float, max_boxes: int
) -> dict[str, Tensor]:
    """Non-maximum suppression within each class, seen from above, then the best of all classes.

    Args:
        boxes: [N, 7 or more].
        scores, labels: [N].
        nms_threshold: a box is dropped if a better one of its class overlaps it by more than this.
        max_boxes: boxes kept of a scene.

    Returns:
        `boxes` [n, ...], `scores` [n] descending, `labels` [n].
    """
    keep = nms_rotated(boxes[:, [0, 1, 3, 4, 6]], scores, nms_threshold, labels)[:max_boxes]
    return {"boxes": boxes[keep], "scores": scores[keep], "labels": labels[keep]}
