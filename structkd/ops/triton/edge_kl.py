"""Divergence of feature differences along edges, fused: loss and gradient in one pass over compressed rows."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from structkd.ops.csr import CSR
from structkd.ops.triton.join import Sums, piece_arguments, piece_of, put_sum
from structkd.ops.triton.launch import accumulates_in, rows_of, start, tile_of


@triton.jit
def edge_kl_kernel(
    s, t, row, begin, end, place, col, pair, weight, log_z, loss, gradient, partial,
    stride_s, stride_t, C, heat,
    SPLIT: tl.constexpr, LEARN: tl.constexpr, TEACHER: tl.constexpr, ACC: tl.constexpr,
    BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    # A row's own features stay in registers; of each neighbour two rows are read, and nothing is written but sums.
    # TEACHER: 0 to normalise the teacher's side here, 1 to write its normalisers to log_z as well, 2 to read them.
    r, first, last = piece_of(row, begin, end, SPLIT)
    c = tl.arange(0, BLOCK_C)
    in_c = c < C
    s_i = tl.load(s + r * stride_s + c, mask=in_c, other=0).to(ACC)
    t_i = tl.load(t + r * stride_t + c, mask=in_c, other=0).to(ACC)
    inverse_tau = tl.load(heat)  # a tensor, for numbers come as float32
    slope = tl.zeros([BLOCK_C], dtype=ACC)
    terms = tl.zeros([BLOCK_E], dtype=ACC)
    for block in range(first, last, BLOCK_E):
        e = block + tl.arange(0, BLOCK_E)
        here = e < last
        j = tl.load(col + e, mask=here, other=0).to(tl.int64)
        w = tl.load(weight + tl.load(pair + e, mask=here, other=0).to(tl.int64), mask=here, other=0).to(ACC)
        inside = here[:, None] & in_c[None, :]
        d_s = s_i[None, :] - tl.load(s + j[:, None] * stride_s + c[None, :], mask=inside, other=0).to(ACC)
        d_t = t_i[None, :] - tl.load(t + j[:, None] * stride_t + c[None, :], mask=inside, other=0).to(ACC)
        a = tl.where(in_c[None, :], tl.abs(d_s) * inverse_tau, -float("inf"))
        b = tl.where(in_c[None, :], tl.abs(d_t) * inverse_tau, -float("inf"))
        top_a = tl.max(a, 1)
        log_a = top_a + tl.log(tl.sum(tl.exp(a - top_a[:, None]), 1))
        if TEACHER == 2:
            log_b = tl.load(log_z + e, mask=here, other=0).to(ACC)
        else:
            top_b = tl.max(b, 1)
            log_b = top_b + tl.log(tl.sum(tl.exp(b - top_b[:, None]), 1))
        if TEACHER == 1:
            tl.store(log_z + e, log_b, mask=here)
        log_q = a - log_a[:, None]
        log_p = b - log_b[:, None]
        p = tl.where(inside, tl.exp(log_p), 0)
        terms += w * tl.sum(tl.where(inside, p * (log_p - log_q), 0), 1)
        if LEARN:
            sign = tl.where(d_s > 0, 1.0, tl.where(d_s < 0, -1.0, 0.0)).to(ACC)
            slope += tl.sum((tl.exp(log_q) - p) * sign * w[:, None], 0)
    # Every pair is visited from both of its ends.
    tl.store(loss + tl.program_id(0).to(tl.int64), tl.sum(terms, 0) * 0.5)
    if LEARN:
        put_sum(slope * inverse_tau, r, c, C, gradient, place, partial, SPLIT)


def edge_kl(
    s: Tensor, t: Tensor, csr: CSR, weight: Tensor, tau: float, learns: bool, log_z: Tensor | None, known: bool
) -> tuple[Tensor, Tensor | None]:
    """Loss [] and, if the student `learns`, its gradient [N, C].

    Args:
        s, t: [N, C] student and teacher.
        csr: every pair from both ends, without loops; `eid` is the pair of each entry.
        weight: [pairs] in float32 or float64.
        log_z: [entries] where the teacher's normalisers are kept, or None; `known` if they are there already.
    """
    s, t = rows_of(s), rows_of(t)
    pieces, channels = csr.pieces, s.size(1)
    wide = weight.dtype
    loss = s.new_empty(pieces.count, dtype=wide)
    gradient = Sums(pieces, s.size(0), channels, s.dtype, s) if learns else None
    unread = loss
    start(
        edge_kl_kernel, (pieces.count,), s,
        s, t, *piece_arguments(pieces), csr.col, csr.eid, weight, unread if log_z is None else log_z, loss,
        unread if gradient is None else gradient.out, unread if gradient is None else gradient.partial,
        s.stride(0), t.stride(0), channels, s.new_full((1,), 1 / tau, dtype=wide),
        SPLIT=pieces.split, LEARN=learns, TEACHER=0 if log_z is None else 1 + known,
        ACC=accumulates_in(torch.promote_types(s.dtype, t.dtype)), **tile_of(channels),
    )  # fmt: skip
    return loss.sum(), None if gradient is None else gradient.finish()
