"""Sparse times dense, and its dual, over compressed rows."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from structkd.ops.csr import CSR
from structkd.ops.precision import accumulator
from structkd.ops.triton.join import Sums, piece_arguments, piece_of, put_sum
from structkd.ops.triton.launch import accumulates_in, rows_of, start, tile_of

#: Widest part of a row that a program takes; wider rows are several programs'.
WIDE = 256


@triton.jit
def spmm_kernel(
    x, row, begin, end, place, col, eid, value, out, partial, stride, C,
    SPLIT: tl.constexpr, VALUE: tl.constexpr, ACC: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    # VALUE: 0 for ones, 1 for values in the order of the rows, 2 in that of the edge list.
    r, first, last = piece_of(row, begin, end, SPLIT)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    total = tl.zeros([BLOCK_C], dtype=ACC)
    for block in range(first, last, BLOCK_E):
        e = block + tl.arange(0, BLOCK_E)
        here = e < last
        s = tl.load(col + e, mask=here, other=0).to(tl.int64)
        message = tl.load(x + s[:, None] * stride + c[None, :], mask=here[:, None] & (c[None, :] < C), other=0).to(ACC)
        if VALUE == 1:
            message *= tl.load(value + e, mask=here, other=0).to(ACC)[:, None]
        if VALUE == 2:
            place_of = tl.load(eid + e, mask=here, other=0).to(tl.int64)
            message *= tl.load(value + place_of, mask=here, other=0).to(ACC)[:, None]
        total += tl.sum(message, 0)
    put_sum(total, r, c, C, out, place, partial, SPLIT)


@triton.jit
def edge_dot_kernel(
    a, b, row, begin, end, col, eid, out, stride_a, stride_b, C,
    SPLIT: tl.constexpr, ACC: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    r, first, last = piece_of(row, begin, end, SPLIT)
    for block in range(first, last, BLOCK_E):
        e = block + tl.arange(0, BLOCK_E)
        here = e < last
        s = tl.load(col + e, mask=here, other=0).to(tl.int64)
        dot = tl.zeros([BLOCK_E], dtype=ACC)
        for left in range(0, C, BLOCK_C):
            c = left + tl.arange(0, BLOCK_C)
            own = tl.load(a + r * stride_a + c, mask=c < C, other=0).to(ACC)
            inside = here[:, None] & (c[None, :] < C)
            dot += tl.sum(tl.load(b + s[:, None] * stride_b + c[None, :], mask=inside, other=0).to(ACC) * own, 1)
        tl.store(out + tl.load(eid + e, mask=here, other=0).to(tl.int64), dot.to(out.dtype.element_ty), mask=here)


def row_product(csr: CSR, x: Tensor, value: Tensor | None) -> Tensor:
    """`spmm` without gradients; `value` [E] in the order of the edge list."""
    x, channels = rows_of(x), x.size(1)
    kind = 0 if value is None and csr.value is None else 1 if value is None else 2
    weight = csr.value if value is None else value.contiguous()
    sums = Sums(csr.pieces, csr.shape[0], channels, x.dtype, x)
    tile = tile_of(min(channels, WIDE))
    start(
        spmm_kernel, (csr.pieces.count, triton.cdiv(channels, tile["BLOCK_C"])), x,
        x, *piece_arguments(csr.pieces), csr.col, csr.eid, x if weight is None else weight, sums.out, sums.partial,
        x.stride(0), channels, SPLIT=csr.pieces.split, VALUE=kind, ACC=accumulates_in(accumulator(x)), **tile,
    )  # fmt: skip
    return sums.finish()


def sampled_product(csr: CSR, a: Tensor, b: Tensor) -> Tensor:
    """`edge_dot` without gradients, in the common dtype of both."""
    a, b = rows_of(a), rows_of(b)
    dtype = torch.promote_types(a.dtype, b.dtype)
    out = a.new_empty(csr.num_edges, dtype=dtype)
    row, begin, end, _ = piece_arguments(csr.pieces)
    start(
        edge_dot_kernel, (csr.pieces.count,), a,
        a, b, row, begin, end, csr.col, csr.eid, out, a.stride(0), b.stride(0), a.size(1),
        SPLIT=csr.pieces.split, ACC=accumulates_in(accumulator(a, b)), **tile_of(min(max(a.size(1), 1), WIDE)),
    )  # fmt: skip
    return out
