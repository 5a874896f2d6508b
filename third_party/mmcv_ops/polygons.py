"""Corners of the polygon that two turned rectangles share, put in order for `mmcv.ops.diff_iou_rotated_2d`."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcv_ops.registry import operator

#: Most corners that two rectangles share, and one to close the polygon.
CORNERS, PLACES = 8, 9
#: From this candidate on they are crossings, of which some are invalid and zero: what fills the places that are left.
CROSSINGS = 8
#: Corners nearer to each other than this are one (in the unit of the boxes).
SAME = 1e-5


@operator(
    "diff_iou_rotated_sort_vertices_forward", differs="corners that coincide are taken once; may start at another one"
)
def diff_iou_rotated_sort_vertices_forward(vertices: Tensor, mask: Tensor, num_valid: Tensor) -> Tensor:
    """Candidates in the order in which they go round.

    Args:
        vertices: [B, N, 24, 2] candidates about their mean: 4 + 4 corners, then 16 crossings.
        mask: [B, N, 24] which of them are corners of the shared polygon.
        num_valid: [B, N] how many are.

    Returns:
        [B, N, 9] int32: the corners counter-clockwise, then the first again, then a crossing that is none. Only the
        latter where there are fewer than three.
    """
    shape = mask.shape[:2]
    points, mask = vertices.detach().flatten(0, 1).double(), mask.flatten(0, 1)
    mask = mask & ~_repeated(points, mask)
    angle = torch.atan2(points[..., 1], points[..., 0]).masked_fill(~mask, torch.inf)
    order = angle.argsort(dim=1, stable=True)
    count = mask.sum(1, keepdim=True).clamp(max=CORNERS)
    spare = CROSSINGS + mask[:, CROSSINGS:].int().argmin(1, keepdim=True)
    place = torch.arange(PLACES, device=mask.device).expand(mask.size(0), -1)
    index = torch.where(place < count, order[:, :PLACES], torch.where(place == count, order[:, :1], spare))
    return torch.where(count >= 3, index, spare).view(*shape, PLACES).int()


def _repeated(points: Tensor, mask: Tensor) -> Tensor:
    """[P, 24] whether an earlier corner is at the same place."""
    near = (points.unsqueeze(2) - points.unsqueeze(1)).abs().amax(3) < SAME
    earlier = torch.ones(near.shape[1:], dtype=torch.bool, device=near.device).tril(-1)
    return (near & earlier & mask.unsqueeze(1)).any(2)
