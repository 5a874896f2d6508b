"""Between rows of cells that hold something and dense maps of all cells."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from structkd.backends import Backend, Op
from structkd.errors import DataError
from structkd.ops.triton.launch import refusals
from structkd.ops.voxels import cell_ids


def scatter_to_grid(
    x: Tensor, coords: Tensor, num_scenes: int, grid: tuple[int, int, int], *, backend: str | None = None
) -> Tensor:
    """A dense map of sparse cells, zero elsewhere; its gradient is the gather back.

    Args:
        x: [V, C] features.
        coords: [V, 4] int64 scene, z, y, x; each cell at most once (as in `Voxels.coords`).
        num_scenes: B.
        grid: D, H, W.
        backend: `triton` (CUDA; writes the rows straight to their places, and reads the gradient in whatever layout it
            comes) or `torch`.

    Returns:
        [B, C*D, H, W] in the dtype of `x`, channel c*D + z; for D = 1 [B, C, H, W]. Laid out with neighbouring
        channels side by side (torch's channels_last) where D = 1, and by `triton` always.

    Raises:
        DataError: shapes that do not fit.
    """
    if x.dim() != 2 or coords.shape != (x.size(0), 4):
        raise DataError(f"Got features {tuple(x.shape)} and coords {tuple(coords.shape)}; expected [V, C] and [V, 4].")
    return SCATTER_TO_GRID(x, coords, num_scenes, grid, backend=backend)


def _torch(x: Tensor, coords: Tensor, num_scenes: int, grid: tuple[int, int, int]) -> Tensor:
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


class _Scatter(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, coords: Tensor, num_scenes: int, grid: tuple[int, int, int]) -> Tensor:
        from structkd.ops.triton.pillar_scatter import put

        ctx.save_for_backward(coords)
        ctx.channels, ctx.depth = x.size(1), grid[0]
        return put(x, coords, num_scenes, grid)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from structkd.ops.triton.pillar_scatter import take

        (coords,) = ctx.saved_tensors
        return take(grad, coords, ctx.channels, ctx.depth), None, None, None


def _triton(x: Tensor, coords: Tensor, num_scenes: int, grid: tuple[int, int, int]) -> Tensor:
    return _Scatter.apply(x, coords, num_scenes, grid)


def _no_triton(x: Tensor | None = None, coords: Tensor | None = None, *rest: Any) -> list[str]:
    return refusals(x, coords)


SCATTER_TO_GRID = Op("scatter_to_grid", [Backend("triton", _triton, _no_triton), Backend("torch", _torch)])
