"""Products of groups of rows with their groups' matrices, where torch has none of its own."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from structkd.ops.triton import launch
from structkd.ops.triton.launch import start

# WIDEN below: Triton's interpreter multiplies no bfloat16.
#: Rows, columns and terms of a tile.
ROWS, COLUMNS, TERMS = 64, 64, 32


@triton.jit
def grouped_kernel(
    x, weight, out, ends, tile_ends, G, C, D, stride_g, stride_d, stride_c,
    GROUPS: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    # out[r, d] = sum_c x[r, c] weight[group of r, d, c]. Which tile of which group this is, the device finds out, so
    # that nobody waits for the sizes; programs beyond the last tile do nothing.
    t = tl.program_id(0).to(tl.int64)
    groups = tl.arange(0, GROUPS)
    before = tl.load(tile_ends + groups, mask=groups < G, other=0)
    g = tl.sum(((before <= t) & (groups < G)).to(tl.int64), 0)
    if g < G:
        first_tile = tl.load(tile_ends + g - 1, mask=g > 0, other=0)
        first_row = tl.load(ends + g - 1, mask=g > 0, other=0)
        r = first_row + (t - first_tile) * BLOCK_R + tl.arange(0, BLOCK_R)
        here = r < tl.load(ends + g)
        d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
        total = tl.zeros([BLOCK_R, BLOCK_D], dtype=tl.float32)
        for left in range(0, C, BLOCK_C):
            c = left + tl.arange(0, BLOCK_C)
            a = tl.load(x + r[:, None] * C + c[None, :], mask=here[:, None] & (c[None, :] < C), other=0)
            at = weight + g * stride_g + d[None, :].to(tl.int64) * stride_d + c[:, None] * stride_c
            b = tl.load(at, mask=(c[:, None] < C) & (d[None, :] < D), other=0)
            if WIDEN:
                a, b = a.to(tl.float32), b.to(tl.float32)
            total = tl.dot(a, b, total, input_precision=PRECISION)
        place = out + r[:, None] * D + d[None, :]
        tl.store(place, total.to(out.dtype.element_ty), mask=here[:, None] & (d[None, :] < D))


@triton.jit
def grouped_weight_kernel(
    x, grad, out, ends, C, D,
    PRECISION: tl.constexpr, WIDEN: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    # out[g, d, c] = sum of grad[r, d] x[r, c] over the rows of group g, in order.
    g = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    first = tl.load(ends + g - 1, mask=g > 0, other=0)
    last = tl.load(ends + g)
    total = tl.zeros([BLOCK_D, BLOCK_C], dtype=tl.float32)
    for top in range(first, last, BLOCK_R):
        r = top + tl.arange(0, BLOCK_R)
        a = tl.load(grad + r[None, :] * D + d[:, None], mask=(r[None, :] < last) & (d[:, None] < D), other=0)
        b = tl.load(x + r[:, None] * C + c[None, :], mask=(r[:, None] < last) & (c[None, :] < C), other=0)
        if WIDEN:
            a, b = a.to(tl.float32), b.to(tl.float32)
        total = tl.dot(a, b, total, input_precision=PRECISION)
    place = out + (g * D + d[:, None]) * C + c[None, :]
    tl.store(place, total.to(out.dtype.element_ty), mask=(d[:, None] < D) & (c[None, :] < C))


def _precision(dtype: torch.dtype) -> str:
    """float32 is multiplied on CUDA cores, unless a person lets torch's own products use tf32."""
    return "tf32" if dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest" else "ieee"


def rows_product(x: Tensor, weight: Tensor, sizes: Tensor) -> Tensor:
    """[N, D] from x [N, C], weight [G, D, C] of any strides and sizes [G]."""
    x = x.contiguous()
    groups, columns, terms = weight.shape
    out = x.new_zeros(x.size(0), columns) if not terms else x.new_empty(x.size(0), columns)
    ends = sizes.cumsum(0)
    tile_ends = ((sizes + ROWS - 1) // ROWS).cumsum(0)
    tiles = triton.cdiv(x.size(0), ROWS) + groups  # at most: the last tile of each group may be short
    start(
        grouped_kernel, (tiles if x.size(0) else 0, triton.cdiv(columns, COLUMNS)), x,
        x, weight, out, ends, tile_ends, groups, terms, columns, *weight.stride(),
        GROUPS=triton.next_power_of_2(max(groups, 1)), PRECISION=_precision(x.dtype), WIDEN=launch.interpreting(),
        BLOCK_R=ROWS, BLOCK_D=COLUMNS, BLOCK_C=TERMS, num_warps=4,
    )  # fmt: skip
    return out


def weight_product(x: Tensor, grad: Tensor, sizes: Tensor) -> Tensor:
    """[G, D, C] from x [N, C] and grad [N, D]; zero for an empty group."""
    x, grad = x.contiguous(), grad.contiguous()
    groups, columns, terms = sizes.numel(), grad.size(1), x.size(1)
    out = x.new_empty(groups, columns, terms)
    start(
        grouped_weight_kernel, (groups, triton.cdiv(columns, COLUMNS), triton.cdiv(terms, COLUMNS)), x,
        x, grad, out, sizes.cumsum(0), terms, columns,
        PRECISION=_precision(x.dtype), WIDEN=launch.interpreting(),
        BLOCK_R=TERMS, BLOCK_D=COLUMNS, BLOCK_C=COLUMNS, num_warps=4,
    )  # fmt: skip
    return out
