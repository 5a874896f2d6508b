"""Maps of two networks on one grid."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def resized(grid: Tensor, size: tuple[int, int]) -> Tensor:
    """A map at `size` = H, W cells over the same area, by bilinear interpolation between the centres of cells.

    Args:
        grid: [B, ..., H', W'].

    Returns:
        [B, ..., H, W]; `grid` itself where it is of that size.
    """
    if grid.shape[-2:] == size:
        return grid
    flat = grid.reshape(grid.size(0), -1, *grid.shape[-2:])
    return F.interpolate(flat, size, mode="bilinear", align_corners=False).reshape(*grid.shape[:-2], *size)
