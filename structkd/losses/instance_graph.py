"""The graph that a layer draws between the samples of a batch, and how a sample moves from one layer to another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from structkd.errors import DataError
from structkd.ops.precision import accumulator, inner_products


def instance_edges(f: Tensor) -> Tensor:
    r"""Squared distances between samples over the largest: [B, ...] -> [B, B] in 0 to 1; zeros where all coincide.

    Liu et al., "Knowledge Distillation via Instance Relationship Graph", CVPR 2019: the edges of a layer's graph. Blind
    to a rotation, a shift and a scale of the features.
    """
    rows = f.flatten(1).to(accumulator(f))
    # About their middle, where least of the squares cancels.
    rows = rows - rows.mean(0) if rows.size(0) else rows
    square = rows.square().sum(1)
    return _over_largest((square[:, None] + square - 2 * inner_products(rows, rows)).clamp(min=0))


def instance_transform(before: Tensor, after: Tensor) -> Tensor:
    r"""How far each sample moves between two layers, squared, over the farthest: [B]; source as `instance_edges`.

    .. math:: \Lambda_i = \frac{\| f_{l + 1}[i] - f_l[i] \|^2}{\max_j \| f_{l + 1}[j] - f_l[j] \|^2}

    The layers are brought to one size: the finer map is averaged to the other's grid, neighbouring channels of the
    wider one to the other's number.

    Args:
        before, after: [B, C, H, W] or [B, C] (a grid of one cell), of one network.

    Raises:
        DataError: the numbers of samples differ.
    """
    maps = [f.to(accumulator(f)) if f.dim() == 4 else f.to(accumulator(f))[:, :, None, None] for f in (before, after)]
    if maps[0].size(0) != maps[1].size(0):
        raise DataError(f"One layer's features are of {maps[0].size(0)} samples, the other's of {maps[1].size(0)}.")
    channels, height, width = (min(maps[0].size(d), maps[1].size(d)) for d in (1, 2, 3))
    before, after = (_pooled(f, channels, height, width) for f in maps)
    return _over_largest((after - before).flatten(1).square().sum(1))


def _pooled(f: Tensor, channels: int, height: int, width: int) -> Tensor:
    if not f.size(0):
        return f.new_zeros(0, channels, height, width) + f.sum()
    if f.shape[-2:] != (height, width):
        f = F.adaptive_avg_pool2d(f, (height, width))
    if f.size(1) != channels:
        f = F.adaptive_avg_pool1d(f.flatten(2).mT, channels).mT.unflatten(2, (height, width))
    return f


def _over_largest(value: Tensor) -> Tensor:
    if not value.numel():
        return value
    largest = value.max()
    return value / torch.where(largest > 0, largest, 1)
