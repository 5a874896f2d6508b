"""Maps of two networks on one grid."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from structkd.errors import DataError
from structkd.structure import Structure


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
    # Half the cells: between their centres bilinear interpolation is the mean, and to the last digit what it was when
    # results were made with it.
    halves = all(old in (new, 2 * new) for old, new in zip(flat.shape[-2:], size))
    if fewer != flat.shape[-2:] and not halves:
        flat = F.adaptive_avg_pool2d(flat, fewer)
    if flat.shape[-2:] != size:
        flat = F.interpolate(flat, size, mode="bilinear", align_corners=False)
    return flat.reshape(*grid.shape[:-2], *size)


def visible_cells(
    student: Structure, teacher: Structure, grid: Tensor, reader: str, whole: bool = False
) -> Tensor | None:
    """The cells of a map that neither side's `mask_map` shuts out: [B, H, W] bool, or None where all count.

    Args:
        student, teacher: each with a `mask_map` [B, h, w] bool (True: counts) or without.
        grid: [B, ..., H, W], the map; a mask is read at the nearest of its own cells.
        reader: name of the distiller, for errors.
        whole: whether the reader needs whole maps.

    Raises:
        DataError: a mask of other images, or one that shuts cells out of whole maps.
    """
    seen = None
    for mask in {id(mask): mask for side in (student, teacher) if (mask := side.get("mask_map")) is not None}.values():
        if mask.dim() != 3 or len(mask) != len(grid):
            raise DataError(f"{reader}: mask_map has shape {list(mask.shape)}; expected [B={len(grid)}, h, w].")
        counts = F.interpolate(mask[:, None].float(), grid.shape[-2:], mode="nearest")[:, 0].bool()
        seen = counts if seen is None else seen & counts
    if seen is None or bool(seen.all()):
        return None
    if whole:
        raise DataError(
            f"{reader} compares whole maps, so that mask_map cannot shut cells out. Name a field of vectors [B, C], or "
            "leave the mask of tokens (token_mask) out of the batch."
        )
    return seen
