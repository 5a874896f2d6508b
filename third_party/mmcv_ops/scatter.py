"""Features of points reduced by voxel, the heart of `mmcv.ops.DynamicScatter`."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcv_ops.registry import operator
from structkd.ops.segment import segment_max, segment_mean, segment_sum

_REDUCE = {"max": segment_max, "sum": segment_sum, "mean": segment_mean}


@operator("dynamic_point_to_voxel_forward", "ops.segment")
def dynamic_point_to_voxel_forward(feats: Tensor, coors: Tensor, reduce_type: str) -> list[Tensor]:
    """Reduce features by voxel; points with a negative coordinate are in none.

    Args:
        feats: [N, C].
        coors: [N, D] int32.
        reduce_type: "max", "sum" or "mean".

    Returns:
        features [M, C]; voxels [M, D], ascending; [N] int32 row of the voxel of each point, -1 for none; [M] int32
        points in each voxel.
    """
    inside = (coors >= 0).all(1)
    voxels, row, count = torch.unique(coors[inside], dim=0, return_inverse=True, return_counts=True)
    point_row = coors.new_full((coors.size(0),), -1, dtype=torch.int32)
    point_row[inside] = row.int()
    if feats.size(0) == 0:
        return [feats.detach().clone(), coors.clone(), point_row, count.int()]
    reduced = _REDUCE[_known(reduce_type)](feats.detach()[inside], row, voxels.size(0))
    return [reduced, voxels, point_row, count.int()]


@operator("dynamic_point_to_voxel_backward", "ops.segment")
def dynamic_point_to_voxel_backward(
    grad_feats: Tensor,
    grad_reduced_feats: Tensor,
    feats: Tensor,
    reduced_feats: Tensor,
    coors_map: Tensor,
    reduce_count: Tensor,
    reduce_type: str,
) -> None:
    """Fill `grad_feats` [N, C]; of equal maxima the point in the first row gets the gradient."""
    grad_feats.zero_()
    point = (coors_map >= 0).nonzero().squeeze(1)
    row = coors_map[point].long()
    if point.numel() == 0:
        return
    if _known(reduce_type) == "max":
        grad_feats[point] = _through_first_maximum(grad_reduced_feats, feats[point], reduced_feats, row)
    else:
        share = grad_reduced_feats / reduce_count.unsqueeze(1) if reduce_type == "mean" else grad_reduced_feats
        grad_feats[point] = share[row].to(grad_feats.dtype)


def _through_first_maximum(grad: Tensor, feats: Tensor, reduced: Tensor, row: Tensor) -> Tensor:
    place = torch.arange(row.numel(), device=row.device).unsqueeze(1).expand_as(feats)
    mine = torch.where(feats == reduced[row], place, row.numel())
    first = torch.full_like(reduced, row.numel(), dtype=torch.int64)
    first.scatter_reduce_(0, row.unsqueeze(1).expand_as(feats), mine, "amin")
    return torch.where(first[row] == place, grad[row], 0).to(feats.dtype)


def _known(reduce_type: str) -> str:
    if reduce_type not in _REDUCE:
        raise NotImplementedError(f"reduce_type='{reduce_type}'; expected one of {', '.join(_REDUCE)}.")
    return reduce_type
