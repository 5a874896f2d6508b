"""Squared distances along edges, and their gradient as a sum over compressed rows."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from structkd.ops.csr import CSR
from structkd.ops.precision import accumulator
from structkd.ops.triton.join import Sums, piece_arguments, piece_of, put_sum
from structkd.ops.triton.launch import accumulates_in, rows_of, start, tile_of

#: Widest part of a row that a program takes.
WIDE = 256


@triton.jit
def distance_kernel(
    x, edge_index, out, stride, stride_end, stride_edge, E, C,
    ACC: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    e = tl.program_id(0).to(tl.int64) * BLOCK_E + tl.arange(0, BLOCK_E)
    here = e < E
    i = tl.load(edge_index + e * stride_edge, mask=here, other=0).to(tl.int64)
    j = tl.load(edge_index + e * stride_edge + stride_end, mask=here, other=0).to(tl.int64)
    total = tl.zeros([BLOCK_E], dtype=ACC)
    for left in range(0, C, BLOCK_C):
        c = left + tl.arange(0, BLOCK_C)
        inside = here[:, None] & (c[None, :] < C)
        d = tl.load(x + i[:, None] * stride + c[None, :], mask=inside, other=0).to(ACC)
        d -= tl.load(x + j[:, None] * stride + c[None, :], mask=inside, other=0).to(ACC)
        total += tl.sum(d * d, 1)
    tl.store(out + e, total.to(out.dtype.element_ty), mask=here)


@triton.jit
def distance_backward_kernel(
    x, row, begin, end, place, col, edge, grad, out, partial, stride, C,
    SPLIT: tl.constexpr, ACC: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    r, first, last = piece_of(row, begin, end, SPLIT)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    own = tl.load(x + r * stride + c, mask=c < C, other=0).to(ACC)
    slope = tl.zeros([BLOCK_C], dtype=ACC)
    for block in range(first, last, BLOCK_E):
        e = block + tl.arange(0, BLOCK_E)
        here = e < last
        j = tl.load(col + e, mask=here, other=0).to(tl.int64)
        g = tl.load(grad + tl.load(edge + e, mask=here, other=0).to(tl.int64), mask=here, other=0).to(ACC)
        other = tl.load(x + j[:, None] * stride + c[None, :], mask=here[:, None] & (c[None, :] < C), other=0).to(ACC)
        slope += tl.sum((own[None, :] - other) * g[:, None], 0)
    put_sum(2 * slope, r, c, C, out, place, partial, SPLIT)


def square_distance(x: Tensor, edge_index: Tensor) -> Tensor:
    """[E] in the dtype of `x`."""
    x = rows_of(x)
    edges, channels = edge_index.size(1), x.size(1)
    out = x.new_empty(edges)
    tile = tile_of(max(1, min(channels, WIDE)))
    start(
        distance_kernel, (triton.cdiv(edges, tile["BLOCK_E"]),), x,
        x, edge_index, out, x.stride(0), *edge_index.stride(), edges, channels,
        ACC=accumulates_in(accumulator(x)), **tile,
    )  # fmt: skip
    return out


def square_distance_backward(x: Tensor, incident: CSR, grad: Tensor) -> Tensor:
    """Gradient by `x`; `incident` has each edge at both of its ends, with its number as `eid`."""
    x, grad = rows_of(x), grad.contiguous()
    pieces, channels = incident.pieces, x.size(1)
    sums = Sums(pieces, x.size(0), channels, x.dtype, x)
    tile = tile_of(max(1, min(channels, WIDE)))
    start(
        distance_backward_kernel, (pieces.count, triton.cdiv(channels, tile["BLOCK_C"])), x,
        x, *piece_arguments(pieces), incident.col, incident.eid, grad, sums.out, sums.partial, x.stride(0), channels,
        SPLIT=pieces.split, ACC=accumulates_in(accumulator(x)), **tile,
    )  # fmt: skip
    return sums.finish()
