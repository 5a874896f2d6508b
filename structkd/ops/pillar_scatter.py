"""Between rows of cells that hold something and dense maps of all cells."""

from __future__ import annotations

from torch import Tensor

from structkd.errors import DataError
from structkd.ops.voxels import cell_ids


def scatter_to_grid(x: Tensor, coords: Tensor, num_scenes: int, grid: tuple[int, int, int]) -> Tensor:
    """A dense map of sparse cells, zero elsewhere; its gradient is the gather back.

    Args:
        x: [V, C] features.
        coords: [V, 4] int64 scene, z, y, x; each cell at most once (as in `Voxels.coords`).
        num_scenes: B.
        grid: D, H, W.

    Returns:
        [B, C*D, H, W] in the dtype of `x`, channel c*D + z; for D = 1 [B, C, H, W]. Laid out with neighbouring
        channels side by side (torch's channels_last) where D = 1.

    Raises:
        DataError: shapes that do not fit.
    """
    if x.dim() != 2 or coords.shape != (x.size(0), 4):
        raise DataError(f"Got features {tuple(x.shape)} and coords {tuple(coords.shape)}; expected [V, C] and [V, 4].")
    depth, height, width = grid
    cells = x.new_zeros(num_scenes * depth * height * width, x.size(1))
    cells.index_copy_(0, cell_ids(coords, grid), x)
    canvas = cells.view(num_scenes, depth, height, width, x.size(1))
    if depth == 1:
        return canvas.squeeze(1).permute(0, 3, 1, 2)
    return canvas.permute(0, 4, 1, 2, 3).reshape(num_scenes, x.size(1) * depth, height, width)


def gather_from_grid(canvas: Tensor, coords: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """The rows [V, C] of a dense map [B, C*D, H, W] at `coords` [V, 4]; the inverse of `scatter_to_grid`.

    Raises:
        DataError: a map that does not fit the grid.
    """
    depth, height, width = grid
    if canvas.dim() != 4 or canvas.shape[2:] != (height, width) or canvas.size(1) % depth:
        raise DataError(f"The map is {tuple(canvas.shape)}; expected [B, a multiple of {depth}, {height}, {width}].")
    if coords.dim() != 2 or coords.size(1) != 4:
        raise DataError(f"coords is {tuple(coords.shape)}; expected [V, 4]: scene, z, y, x.")
    scene, z, y, x = coords.unbind(1)
    cells = canvas.unflatten(1, (-1, depth)).permute(0, 2, 3, 4, 1)
    return cells[scene, z, y, x]
