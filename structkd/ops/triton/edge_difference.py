"""Squared difference of two edge layers, fused; edges are made again in each pass and never written."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from structkd.ops.csr import CSR
from structkd.ops.triton.join import Sums, piece_arguments, piece_of, put_sum
from structkd.ops.triton.launch import accumulates_in, rows_of, start, tile_of


@triton.jit
def edge_difference_kernel(
    own_s, other_s, own_t, other_t, row, begin, end, place, col, weight, loss, grad_s, grad_t, part_s, part_t,
    stride_own_s, stride_other_s, stride_own_t, stride_other_t, C,
    SPLIT: tl.constexpr, OF_ROW: tl.constexpr, LOSS: tl.constexpr, LEARN_S: tl.constexpr, LEARN_T: tl.constexpr,
    ACC: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    # One kernel for both ends: a row's own terms stay in registers, those of its neighbours are read. OF_ROW: weights
    # belong to the rows (which are centres then), else to the neighbours.
    r, first, last = piece_of(row, begin, end, SPLIT)
    c = tl.arange(0, BLOCK_C)
    in_c = c < C
    s_own = tl.load(own_s + r * stride_own_s + c, mask=in_c, other=0).to(ACC)
    t_own = tl.load(own_t + r * stride_own_t + c, mask=in_c, other=0).to(ACC)
    slope_s = tl.zeros([BLOCK_C], dtype=ACC)
    slope_t = tl.zeros([BLOCK_C], dtype=ACC)
    total = tl.zeros([BLOCK_C], dtype=ACC)
    if OF_ROW:
        w_own = tl.load(weight + r).to(ACC)
        last = tl.where(w_own == 0, first, last)  # what weighs nothing is not visited
    for block in range(first, last, BLOCK_E):
        e = block + tl.arange(0, BLOCK_E)
        here = e < last
        j = tl.load(col + e, mask=here, other=0).to(tl.int64)
        if OF_ROW:
            w = tl.where(here, w_own, 0)
        else:
            w = tl.load(weight + j, mask=here, other=0).to(ACC)
            here = here & (w != 0)
        inside = here[:, None] & in_c[None, :]
        s = s_own[None, :] + tl.load(other_s + j[:, None] * stride_other_s + c[None, :], mask=inside, other=0).to(ACC)
        t = t_own[None, :] + tl.load(other_t + j[:, None] * stride_other_t + c[None, :], mask=inside, other=0).to(ACC)
        difference = tl.where(inside, tl.maximum(s, 0) - tl.maximum(t, 0), 0)
        weighted = difference * w[:, None]
        if LOSS:
            total += tl.sum(weighted * difference, 0)
        if LEARN_S:
            slope_s += tl.sum(tl.where(s > 0, weighted, 0), 0)
        if LEARN_T:
            slope_t += tl.sum(tl.where(t > 0, weighted, 0), 0)
    if LOSS:
        tl.store(loss + tl.program_id(0).to(tl.int64), tl.sum(total, 0))
    if LEARN_S:
        put_sum(2 * slope_s, r, c, C, grad_s, place, part_s, SPLIT)
    if LEARN_T:
        put_sum(-2 * slope_t, r, c, C, grad_t, place, part_t, SPLIT)


def one_end(
    csr: CSR,
    own: tuple[Tensor, Tensor],
    other: tuple[Tensor, Tensor],
    weight: Tensor,
    learns: tuple[bool, bool],
    centers: bool,
) -> tuple[Tensor | None, list[Tensor | None]]:
    """The loss (if the rows of `csr` are the `centers`), and the gradients by the student's and teacher's `own` terms.

    Args:
        csr: neighbours of each row.
        own, other: (student, teacher) terms of the rows, and of what `col` names.
        weight: of the centres, in the dtype to sum in.
        learns: which of the own terms get a gradient.
    """
    own_s, own_t = (rows_of(term) for term in own)
    other_s, other_t = (rows_of(term) for term in other)
    pieces, channels = csr.pieces, own_s.size(1)
    loss = weight.new_empty(pieces.count)
    sums = [Sums(pieces, csr.shape[0], channels, term.dtype, term) if on else None for term, on in zip(own, learns)]
    out = [loss if room is None else room.out for room in sums]
    partial = [loss if room is None else room.partial for room in sums]
    if centers or any(learns):
        start(
            edge_difference_kernel, (pieces.count,), own_s,
            own_s, other_s, own_t, other_t, *piece_arguments(pieces), csr.col, weight, loss, *out, *partial,
            own_s.stride(0), other_s.stride(0), own_t.stride(0), other_t.stride(0), channels,
            SPLIT=pieces.split, OF_ROW=centers, LOSS=centers, LEARN_S=learns[0], LEARN_T=learns[1],
            ACC=accumulates_in(weight.dtype), **tile_of(channels),
        )  # fmt: skip
    return loss.sum() if centers else None, [None if room is None else room.finish() for room in sums]
