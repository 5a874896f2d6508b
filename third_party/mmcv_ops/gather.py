"""Features of chosen points [B, C, N] and [N, C], and the gradients back to where they came from."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcv_ops.registry import operator


@operator("gather_points_forward")
def gather_points_forward(features: Tensor, idx: Tensor, out: Tensor, b: int, c: int, n: int, npoints: int) -> None:
    """Fill `out` [B, C, M] with the features [B, C, N] at `idx` [B, M]."""
    out.copy_(features.gather(2, _places(idx, c)))


@operator("gather_points_backward")
def gather_points_backward(
    grad_out: Tensor, idx: Tensor, grad_features: Tensor, b: int, c: int, n: int, npoints: int
) -> None:
    """Add the gradients [B, C, M] to those of the features, [B, C, N]."""
    grad_features.scatter_add_(2, _places(idx, c), grad_out)


@operator("group_points_forward")
def group_points_forward(
    features: Tensor, idx: Tensor, out: Tensor, b: int, c: int, n: int, npoints: int, nsample: int
) -> None:
    """Fill `out` [B, C, M, K] with the features [B, C, N] at `idx` [B, M, K]."""
    out.copy_(features.gather(2, _places(idx, c)).view_as(out))


@operator("group_points_backward")
def group_points_backward(
    grad_out: Tensor, idx: Tensor, grad_features: Tensor, b: int, c: int, n: int, npoints: int, nsample: int
) -> None:
    """Add the gradients [B, C, M, K] to those of the features, [B, C, N]."""
    grad_features.scatter_add_(2, _places(idx, c), grad_out.flatten(2))


@operator("stack_group_points_forward")
def stack_group_points_forward(
    features: Tensor,
    features_batch_cnt: Tensor,
    idx: Tensor,
    idx_batch_cnt: Tensor,
    out: Tensor,
    b: int,
    m: int,
    c: int,
    nsample: int,
) -> None:
    """Fill `out` [M, C, K] with features [N, C] at `idx` [M, K], which counts from the start of each scene.

    The -1 of an empty ball is read as the first point of its scene.
    """
    if m:
        out.copy_(features[_stacked(idx, idx_batch_cnt, features_batch_cnt)].transpose(1, 2))


@operator("stack_group_points_backward")
def stack_group_points_backward(
    grad_out: Tensor,
    idx: Tensor,
    idx_batch_cnt: Tensor,
    features_batch_cnt: Tensor,
    grad_features: Tensor,
    b: int,
    c: int,
    m: int,
    n: int,
    nsample: int,
) -> None:
    """Add the gradients [M, C, K] to those of the features, [N, C]."""
    rows = _stacked(idx, idx_batch_cnt, features_batch_cnt).flatten()
    grad_features.index_add_(0, rows, grad_out.transpose(1, 2).reshape(-1, c))


@operator("three_interpolate_forward")
def three_interpolate_forward(
    points: Tensor, idx: Tensor, weight: Tensor, out: Tensor, b: int, c: int, m: int, n: int
) -> None:
    """Fill `out` [B, C, N] with the features [B, C, M] at `idx` [B, N, 3], added up with `weight` [B, N, 3]."""
    picked = points.gather(2, _places(idx, c)).view(b, c, n, 3)
    out.copy_((picked * weight.unsqueeze(1)).sum(3))


@operator("three_interpolate_backward")
def three_interpolate_backward(
    grad_out: Tensor, idx: Tensor, weight: Tensor, grad_points: Tensor, b: int, c: int, n: int, m: int
) -> None:
    """Add the gradients [B, C, N] to those of the features, [B, C, M]."""
    shares = grad_out.unsqueeze(3) * weight.unsqueeze(1)
    grad_points.scatter_add_(2, _places(idx, c), shares.flatten(2).to(grad_points.dtype))


def _places(idx: Tensor, c: int) -> Tensor:
    """[B, C, R] places along the last dimension of features, from indices [B, ...]."""
    return idx.long().flatten(1).unsqueeze(1).expand(-1, c, -1)


def _stacked(idx: Tensor, idx_batch_cnt: Tensor, features_batch_cnt: Tensor) -> Tensor:
    """[M, K] rows of the stacked features."""
    start = (features_batch_cnt.cumsum(0) - features_batch_cnt).long()
    return idx.long().clamp(min=0) + torch.repeat_interleave(start, idx_batch_cnt.long()).unsqueeze(1)
