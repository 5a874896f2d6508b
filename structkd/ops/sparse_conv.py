r"""Convolution over sparse cells: a matrix product for each offset of the kernel, over the pairs of cells it joins.

Cross-correlation as in `torch.nn.functional.conv3d`: output cell o of a layer with stride s and padding p is

.. math:: y_o = \sum_k x_{o s - p + k} W_k

over the kernel's offsets k and those inputs that are there. `Rules` list the pairs; they are found by sorted ids and
binary search, so nothing of the size of the grid is held and there is no hash table to fill in any order. Outputs and
input gradients are the same to the bit on any number of threads; a weight's gradient is a matrix product over all
pairs, which torch may split between threads like that of any dense layer.

Source: Graham et al., "3D Semantic Segmentation with Submanifold Sparse Convolutional Networks", CVPR 2018; the
order of offsets and the meaning of "inverse" are those of spconv.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from structkd.backends import Backend, Op
from structkd.errors import ConfigError, DataError
from structkd.ops import spconv
from structkd.ops.precision import accumulator
from structkd.ops.voxels import cell_coords, cell_ids

Triple = tuple[int, int, int]
Pairs = tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True)
class Rules:
    """Which input cell meets which output cell at each offset of a kernel.

    Attributes:
        pairs: for each offset, z slowest and x fastest, the rows (input, output) it joins, [R] int64 each. Within one
            offset no row occurs twice on either side.
        kernel, stride, padding: along z, y, x, of the convolution the rules were made for.
        in_coords, out_coords: [V, 4], [V', 4] scene, z, y, x of the cells, ascending.
        in_grid, out_grid: D, H, W before and after.
        identity: the offset that joins every row with itself, in submanifold rules.
    """

    pairs: Pairs
    kernel: Triple
    in_coords: Tensor
    in_grid: Triple
    out_coords: Tensor
    out_grid: Triple
    stride: Triple
    padding: Triple
    identity: int | None = None

    def inverse(self) -> Rules:
        """The same pairs from output to input: with them `sparse_conv` is a transposed convolution on the old cells."""
        pairs = tuple((after, before) for before, after in self.pairs)
        return replace(
            self,
            pairs=pairs,
            in_coords=self.out_coords,
            in_grid=self.out_grid,
            out_coords=self.in_coords,
            out_grid=self.in_grid,
        )


@torch.no_grad()
def submanifold_rules(coords: Tensor, grid: Triple, num_scenes: int, kernel: Triple) -> Rules:
    """Rules of a convolution whose output cells are its input cells (stride 1, the kernel centred).

    Args:
        coords: [V, 4] int64 scene, z, y, x; each cell once, ascending by `cell_ids` (as in `Voxels.coords`).
        grid: D, H, W.
        num_scenes: B.
        kernel: kz, ky, kx; odd.

    Raises:
        DataError: cells outside the grid, repeated, or not ascending.
        ConfigError: an even kernel.
    """
    if any(size % 2 == 0 or size < 1 for size in kernel):
        raise ConfigError(f"A submanifold convolution has kernel {tuple(kernel)}; expected odd sizes.")
    ids = _checked_ids(coords, grid, num_scenes)
    rows = torch.arange(ids.numel(), device=ids.device)
    count = math.prod(kernel)
    found: list[tuple[Tensor, Tensor]] = []
    for offset in itertools.islice(_offsets(kernel), count // 2):
        shift = [step - size // 2 for step, size in zip(offset, kernel)]
        there = _within(coords[:, 1:] + coords.new_tensor(shift), grid)
        wanted = ids + (shift[0] * grid[1] + shift[1]) * grid[2] + shift[2]
        place = torch.searchsorted(ids, wanted).clamp_(max=max(ids.numel() - 1, 0))
        there &= ids[place] == wanted
        found.append((place[there], rows[there]))
    # The kernel is symmetric about its centre: what joins a to b joins b to a at the mirrored offset.
    mirrored = [(after, before) for before, after in reversed(found)]
    pairs = (*found, (rows, rows), *mirrored)
    centre = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return Rules(pairs, kernel, coords, grid, coords, grid, (1, 1, 1), centre, identity=count // 2)


@torch.no_grad()
def strided_rules(
    coords: Tensor, grid: Triple, num_scenes: int, kernel: Triple, stride: Triple, padding: Triple
) -> Rules:
    """Rules of a convolution whose output cells are all that any input cell reaches.

    Args:
        coords, grid, num_scenes: as for `submanifold_rules`.
        kernel, stride, padding: along z, y, x.

    Raises:
        DataError: as `submanifold_rules`.
        ConfigError: kernel, stride or padding out of bounds, or a grid smaller than the kernel.
    """
    if min(kernel) < 1 or min(stride) < 1 or min(padding) < 0:
        raise ConfigError(f"kernel {kernel}, stride {stride}, padding {padding}: expected 1, 1 and 0 or more.")
    after = [(size + 2 * pad - k) // s + 1 for size, k, s, pad in zip(grid, kernel, stride, padding)]
    if min(after) < 1:
        raise ConfigError(f"A kernel {tuple(kernel)} with padding {tuple(padding)} does not fit into the grid {grid}.")
    out_grid = (after[0], after[1], after[2])
    _checked_ids(coords, grid, num_scenes)
    before, reached = [], []
    for offset in _offsets(kernel):
        place = coords[:, 1:] + coords.new_tensor([pad - step for pad, step in zip(padding, offset)])
        size = coords.new_tensor(stride)
        target = place.div(size, rounding_mode="floor")
        row = ((place == target * size).all(1) & _within(target, out_grid)).nonzero().squeeze(1)
        before.append(row)
        reached.append(cell_ids(torch.cat([coords[row, :1], target[row]], 1), out_grid))
    out_ids, position = torch.unique(torch.cat(reached), return_inverse=True)
    pairs = tuple(zip(before, position.split([row.numel() for row in before])))
    return Rules(pairs, kernel, coords, grid, cell_coords(out_ids, out_grid), out_grid, stride, padding)


def sparse_conv(x: Tensor, weight: Tensor, rules: Rules, *, backend: str | None = None) -> Tensor:
    """Sparse convolution (submanifold, strided or inverse: as the rules say), without bias.

    Args:
        x: [V, Cin] floating point features of `rules.in_coords`; half and bfloat16 are summed in float32.
        weight: [kz, ky, kx, Cin, Cout].
        rules: see `submanifold_rules`, `strided_rules` and `Rules.inverse`.
        backend: `gather` (plain PyTorch, any device) or, on request and on CUDA, `spconv` (see `structkd.ops.spconv`).

    Returns:
        [V', Cout] features of `rules.out_coords` in the dtype of `x`; differentiable once in `x` and `weight`.

    Raises:
        DataError: shapes that do not fit.
    """
    if x.dim() != 2 or x.size(0) != rules.in_coords.size(0):
        raise DataError(f"x is {tuple(x.shape)}; expected [{rules.in_coords.size(0)}, Cin], a row for each cell.")
    if weight.dim() != 5 or tuple(weight.shape[:4]) != (*rules.kernel, x.size(1)):
        raise DataError(
            f"weight is {tuple(weight.shape)}; expected {[*rules.kernel, x.size(1), 'Cout']}: kz, ky, kx, Cin, Cout."
        )
    return SPARSE_CONV(x, weight, rules, backend=backend)


class _SparseConv(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, rules: Rules) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.rules = rules
        with torch.autocast(x.device.type, enabled=False):
            return _apply(x, weight, rules.pairs, rules.out_coords.size(0), rules.identity)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rules, grad_x, grad_weight = ctx.rules, None, None
        grad = grad.contiguous()
        if ctx.needs_input_grad[0]:
            back = rules.inverse()
            grad_x = _apply(grad, weight.transpose(1, 2), back.pairs, x.size(0), rules.identity)
        if ctx.needs_input_grad[1]:
            grad_weight = torch.stack(
                [
                    x.t() @ grad if k == rules.identity else x.index_select(0, i).t() @ grad.index_select(0, o)
                    for k, (i, o) in enumerate(rules.pairs)
                ]
            )
        return grad_x, grad_weight, None


def _apply(x: Tensor, weight: Tensor, pairs: Pairs, rows: int, identity: int | None) -> Tensor:
    """Rows of `x` [V, Cin] times `weight` [K, Cin, Cout], added up where the pairs say."""
    out = x.new_zeros(rows, weight.size(2)) if identity is None else x @ weight[identity]
    for k, (before, after) in enumerate(pairs):
        if k != identity and before.numel():
            # No row occurs twice within an offset, so the order of these additions is nobody's choice.
            out.index_add_(0, after, x.index_select(0, before) @ weight[k])
    return out


def _gather(x: Tensor, weight: Tensor, rules: Rules) -> Tensor:
    dtype = accumulator(x, weight)
    return _SparseConv.apply(x.to(dtype), weight.to(dtype).flatten(0, 2), rules).to(x.dtype)


def _offsets(kernel: Triple) -> itertools.product[tuple[int, ...]]:
    return itertools.product(*map(range, kernel))


def _within(coords: Tensor, grid: Triple) -> Tensor:
    return ((coords >= 0) & (coords < coords.new_tensor(grid))).all(1)


def _checked_ids(coords: Tensor, grid: Triple, num_scenes: int) -> Tensor:
    if coords.dim() != 2 or coords.size(1) != 4 or coords.dtype != torch.int64:
        raise DataError(f"coords is {coords.dtype} {tuple(coords.shape)}; expected int64 [V, 4]: scene, z, y, x.")
    ids = cell_ids(coords, grid)
    scene = coords[:, 0]
    if not bool((_within(coords[:, 1:], grid) & (scene >= 0) & (scene < num_scenes)).all()):
        raise DataError(f"coords holds cells outside {num_scenes} scenes of the grid {tuple(grid)}.")
    if not bool((ids[1:] > ids[:-1]).all()):
        raise DataError("coords must hold each cell once, in ascending order of scene, z, y, x.")
    return ids


SPARSE_CONV = Op(
    "sparse_conv",
    [Backend("spconv", spconv.spconv, spconv.refusals, on_request=True), Backend("gather", _gather)],
)
