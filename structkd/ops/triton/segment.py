"""Maxima and softmaxes over compressed rows. (Sums of segments are `spmm`'s, with ones for values.)"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from structkd.ops.csr import CSR
from structkd.ops.precision import accumulator
from structkd.ops.triton.launch import accumulates_in, rows_of, start, tile_of

#: Widest part of a row that a program takes.
WIDE = 128


@triton.jit
def segment_max_kernel(
    src, begin, end, col, out, winner, stride, C, entries, nobody,
    COL: tl.constexpr, ACC: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    # The first entry that reaches the maximum wins; NaN is the maximum, and nobody's.
    r = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    first = tl.load(begin + r).to(tl.int64)
    last = tl.load(end + r).to(tl.int64)
    best = tl.full([BLOCK_C], -float("inf"), dtype=ACC)
    who = tl.zeros([BLOCK_C], dtype=tl.int64) + entries
    spoilt = tl.zeros([BLOCK_C], dtype=tl.int32)
    for block in range(first, last, BLOCK_E):
        e = block + tl.arange(0, BLOCK_E)
        s = e
        if COL:
            s = tl.load(col + e, mask=e < last, other=0).to(tl.int64)
        inside = (e < last)[:, None] & (c[None, :] < C)
        v = tl.load(src + s[:, None] * stride + c[None, :], mask=inside, other=-float("inf")).to(ACC)
        spoilt = tl.maximum(spoilt, tl.max((v != v).to(tl.int32), 0))
        v = tl.where(v != v, -float("inf"), v)
        top = tl.max(v, 0)
        rank = tl.min(tl.where(inside & (v == top[None, :]), e[:, None], entries), 0)
        better = (top > best) | ((who == entries) & (rank < entries))
        who = tl.where(better, rank, who)
        best = tl.where(better, top, best)
    best = tl.where(spoilt > 0, float("nan"), tl.where(who < entries, best, 0))
    known = (who < entries) & (spoilt == 0)
    if COL:
        who = tl.load(col + who, mask=known & (c < C), other=0).to(tl.int64)
    tl.store(out + r * C + c, best.to(out.dtype.element_ty), mask=c < C)
    tl.store(winner + r * C + c, tl.where(known, who, nobody), mask=c < C)


@triton.jit
def segment_softmax_kernel(
    src, begin, end, col, out, stride, C,
    LOG: tl.constexpr, ACC: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    first = tl.load(begin + r).to(tl.int64)
    last = tl.load(end + r).to(tl.int64)
    low = -3.4e38  # finite, so that a row before its first score has no NaN
    top = tl.full([BLOCK_C], low, dtype=ACC)
    total = tl.zeros([BLOCK_C], dtype=ACC)
    for block in range(first, last, BLOCK_E):
        e = block + tl.arange(0, BLOCK_E)
        s = tl.load(col + e, mask=e < last, other=0).to(tl.int64)
        inside = (e < last)[:, None] & (c[None, :] < C)
        v = tl.load(src + s[:, None] * stride + c[None, :], mask=inside, other=-float("inf")).to(ACC)
        above = tl.maximum(top, tl.max(v, 0))
        total = total * tl.exp(top - above) + tl.sum(tl.exp(v - above[None, :]), 0)
        top = above
    log_total = tl.log(total)
    for block in range(first, last, BLOCK_E):
        e = block + tl.arange(0, BLOCK_E)
        s = tl.load(col + e, mask=e < last, other=0).to(tl.int64)
        inside = (e < last)[:, None] & (c[None, :] < C)
        v = tl.load(src + s[:, None] * stride + c[None, :], mask=inside, other=0).to(ACC) - top[None, :]
        if LOG:
            v = v - log_total[None, :]
        else:
            v = tl.exp(v) / total[None, :]
        tl.store(out + s[:, None] * C + c[None, :], v.to(out.dtype.element_ty), mask=inside)


@triton.jit
def segment_softmax_backward_kernel(
    result, grad, begin, end, col, out, C,
    LOG: tl.constexpr, ACC: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    first = tl.load(begin + r).to(tl.int64)
    last = tl.load(end + r).to(tl.int64)
    total = tl.zeros([BLOCK_C], dtype=ACC)
    for block in range(first, last, BLOCK_E):
        e = block + tl.arange(0, BLOCK_E)
        s = tl.load(col + e, mask=e < last, other=0).to(tl.int64)
        inside = (e < last)[:, None] & (c[None, :] < C)
        at = s[:, None] * C + c[None, :]
        g = tl.load(grad + at, mask=inside, other=0).to(ACC)
        if not LOG:
            g = g * tl.load(result + at, mask=inside, other=0).to(ACC)
        total += tl.sum(g, 0)
    for block in range(first, last, BLOCK_E):
        e = block + tl.arange(0, BLOCK_E)
        s = tl.load(col + e, mask=e < last, other=0).to(tl.int64)
        inside = (e < last)[:, None] & (c[None, :] < C)
        at = s[:, None] * C + c[None, :]
        g = tl.load(grad + at, mask=inside, other=0).to(ACC)
        v = tl.load(result + at, mask=inside, other=0).to(ACC)
        if LOG:
            v = g - tl.exp(v) * total[None, :]
        else:
            v = v * (g - total[None, :])
        tl.store(out + at, v.to(out.dtype.element_ty), mask=inside)


def row_max(csr: CSR, src: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum of the rows of `src` [M, C] that each compressed row lists in `col`, and which row it is: [N, C] twice.

    The first that reaches it; M for an empty row (whose maximum is 0) and for NaN. Long rows by the piece, and then
    the pieces.
    """
    src, pieces = rows_of(src), csr.pieces
    found = _max(src, pieces.start, pieces.end, csr.col, csr.num_edges, src.size(0))
    if not pieces.split:
        return found
    assert pieces.first is not None
    largest, piece = _max(found[0], pieces.first[:-1], pieces.first[1:], None, pieces.count, pieces.count)
    winner = found[1].gather(0, piece.clamp(max=pieces.count - 1))
    return largest, torch.where(piece < pieces.count, winner, src.size(0))


def _max(
    src: Tensor, begin: Tensor, end: Tensor, col: Tensor | None, entries: int, nobody: int
) -> tuple[Tensor, Tensor]:
    rows, channels = begin.numel(), src.size(1)
    out, winner = src.new_empty(rows, channels), torch.empty(rows, channels, dtype=torch.int64, device=src.device)
    tile = tile_of(min(channels, WIDE))
    start(
        segment_max_kernel, (rows, triton.cdiv(channels, tile["BLOCK_C"])), src,
        src, begin, end, begin if col is None else col, out, winner, src.stride(0), channels, entries, nobody,
        COL=col is not None, ACC=accumulates_in(src.dtype), **tile,
    )  # fmt: skip
    return out, winner


def row_softmax(csr: CSR, src: Tensor, log: bool) -> Tensor:
    """Softmax, or its logarithm, over the rows of `src` [E, C] that each compressed row lists; every row is in one."""
    src, channels = rows_of(src), src.size(1)
    out = src.new_empty(src.shape)
    tile = tile_of(min(channels, WIDE))
    start(
        segment_softmax_kernel, (csr.shape[0], triton.cdiv(channels, tile["BLOCK_C"])), src,
        src, csr.rowptr[:-1], csr.rowptr[1:], csr.col, out, src.stride(0), channels,
        LOG=log, ACC=accumulates_in(accumulator(src)), **tile,
    )  # fmt: skip
    return out


def row_softmax_backward(csr: CSR, result: Tensor, grad: Tensor, log: bool) -> Tensor:
    """Gradient by `src` from what `row_softmax` returned and the gradient by it."""
    result, grad = result.contiguous(), grad.contiguous()
    out = torch.empty_like(result)
    tile = tile_of(min(result.size(1), WIDE))
    start(
        segment_softmax_backward_kernel, (csr.shape[0], triton.cdiv(result.size(1), tile["BLOCK_C"])), result,
        result, grad, csr.rowptr[:-1], csr.rowptr[1:], csr.col, out, result.size(1),
        LOG=log, ACC=accumulates_in(accumulator(result)), **tile,
    )  # fmt: skip
    return out
