"""Maps of two networks on one grid."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from structkd.errors import DataError


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


def cell_mask(mask: Tensor, grid: Tensor, reader: str) -> Tensor:
    """[B, H, W] bool, a mask [B, h, w] read at the nearest of its cells for those of a map `grid` [B, C, H, W].

    Raises a `DataError` that names the `reader` where it is of other images.
    """
    if mask.dim() != 3 or len(mask) != len(grid):
        raise DataError(f"{reader}: mask_map has shape {list(mask.shape)}; expected [B={len(grid)}, h, w].")
    return F.interpolate(mask[:, None].float(), grid.shape[-2:], mode="nearest")[:, 0].bool()
