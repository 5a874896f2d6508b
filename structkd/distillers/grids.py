"""Maps of two networks on one grid."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def resized(grid: Tensor, size: tuple[int, int]) -> Tensor:
    """A map at `size` = H, W cells over the same area.

    Where there are fewer cells than before, each is the mean of those that it touches, so that every cell counts; where
    there are more, bilinear interpolation between the centres of cells.

    Args:
        grid: [B, ..., H', W'].

    Returns:
        [B, ..., H, W]; `grid` itself where it is of that size.
    """
    if grid.shape[-2:] == size:
        return grid
    flat = grid.reshape(grid.size(0), math.prod(grid.shape[1:-2]), *grid.shape[-2:])
    fewer = (min(size[0], flat.size(-2)), min(size[1], flat.size(-1)))
    if fewer != flat.shape[-2:]:
        flat = F.adaptive_avg_pool2d(flat, fewer)
    if size != fewer:
        flat = F.interpolate(flat, size, mode="bilinear", align_corners=False)
    return flat.reshape(*grid.shape[:-2], *size)
