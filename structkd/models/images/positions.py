"""Where on an image a token stands."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sincos_positions(grid: tuple[int, int], channels: int) -> Tensor:
    """Sines and cosines of a token's row and column.

    Args:
        grid: rows and columns of tokens.
        channels: C, divisible by 4: half of them for the column, half for the row, sines before cosines.

    Returns:
        [h w, C] in the default floating point type, row by row.

    Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.5, in two dimensions.
    """
    quarter = channels // 4
    speed = 10000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij")
    angles = [place.reshape(-1, 1) * speed for place in (columns, rows)]
    return torch.cat([f(a) for a in angles for f in (torch.sin, torch.cos)], 1).to(torch.get_default_dtype())


def resized_positions(positions: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Learned positions [h w, C] of one grid on another one, by bicubic interpolation; [h' w', C]."""
    if grid == new_grid:
        return positions
    image = positions.T.unflatten(1, grid)[None]
    return F.interpolate(image, new_grid, mode="bicubic", align_corners=False)[0].flatten(1).T
