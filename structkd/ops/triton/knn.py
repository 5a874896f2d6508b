"""Nearest neighbours with the best of each query in registers: no distance is ever written."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from structkd.ops.triton.launch import power_of_2, rows_of, start

#: With more coordinates than these, products on tensor cores say who may be near, and differences who is.
WIDE = 32
#: An estimated square is off by less than this for each coordinate and each unit of the two squared lengths: an upper
#: bound of the rounding of products in three parts of tf32 (2^-22 a term) and of their sum, four times over.
ROUNDING = 2.0**-20


@triton.jit
def _square_bits(square):
    """A distance's square as an integer of the same order. (A square may come out as minus zero.)"""
    return tl.where(square > 0, square, 0.0).to(tl.int32, bitcast=True).to(tl.int64) << 32


@triton.jit
def _square(key):
    return (key >> 32).to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def knn_kernel(
    x, y, p, q, square_p, square_q, slack, low, high, index, distance, stride_x, stride_y, N, M, C, k,
    BATCH: tl.constexpr, ALONE: tl.constexpr, ESTIMATE: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    # A candidate is a key: the bits of its squared distance, then its row. Keys of one query are all different, and
    # their order is that of distances, equal ones by row.
    far = 0x7F800000 << 32  # at infinity
    i = tl.program_id(0).to(tl.int64) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    asks = i < M
    if BATCH:
        start_i = tl.load(low + i, mask=asks, other=N).to(tl.int64)
        end_i = tl.load(high + i, mask=asks, other=0).to(tl.int64)
    else:
        start_i = tl.where(asks, 0, N).to(tl.int64)
        end_i = tl.where(asks, N, 0).to(tl.int64)
    slot = tl.arange(0, BLOCK_K)
    # Places beyond k hold what is nearer than anything, and so are never given away.
    empty = tl.where(slot < k, far + 1 + slot, slot - BLOCK_K).to(tl.int64)
    best = tl.zeros([BLOCK_Q, BLOCK_K], dtype=tl.int64) + empty[None, :]
    worst = tl.max(best, 1)
    if ESTIMATE:
        own_square = tl.load(square_q + i, mask=asks, other=0)
        room = tl.load(slack + i, mask=asks, other=0)
    for left in range(tl.min(start_i), tl.max(end_i), BLOCK_N):
        j = left + tl.arange(0, BLOCK_N).to(tl.int64)
        square = tl.zeros([BLOCK_Q, BLOCK_N], dtype=tl.float32)
        if ESTIMATE:
            for first in range(0, C, BLOCK_C):
                c = first + tl.arange(0, BLOCK_C)
                in_q = asks[:, None] & (c[None, :] < C)
                in_p = (j[None, :] < N) & (c[:, None] < C)
                a = tl.load(q + i[:, None] * C + c[None, :], mask=in_q, other=0)
                b = tl.load(p + j[None, :] * C + c[:, None], mask=in_p, other=0)
                square = tl.dot(a, b, square, input_precision="tf32x3")
            square = own_square[:, None] + tl.load(square_p + j, mask=j < N, other=0)[None, :] - 2 * square
        else:
            for c in range(0, C):
                a = tl.load(y + i * stride_y + c, mask=asks, other=0).to(tl.float32)
                b = tl.load(x + j * stride_x + c, mask=j < N, other=0).to(tl.float32)
                difference = a[:, None] - b[None, :]
                square += difference * difference
        may = (j[None, :] >= start_i[:, None]) & (j[None, :] < end_i[:, None])
        if ALONE:
            may = may & (j[None, :] != i[:, None])
        key = tl.where(may, _square_bits(square) | j[None, :], far)
        # Each query takes its nearest candidate, all queries at once, until none has one that is near enough.
        chosen = tl.min(key, 1)
        if ESTIMATE:
            wants = (chosen < far) & (_square(chosen) - room <= _square(worst))
        else:
            wants = (chosen < far) & (chosen < worst)
        more = tl.max(wants.to(tl.int32), 0)
        while more > 0:
            new = chosen
            if ESTIMATE:
                row = tl.where(wants, chosen & 0xFFFFFFFF, 0)
                exact = tl.zeros([BLOCK_Q], dtype=tl.float32)
                for first in range(0, C, BLOCK_C):
                    c = first + tl.arange(0, BLOCK_C)
                    inside = wants[:, None] & (c[None, :] < C)
                    a = tl.load(y + i[:, None] * stride_y + c[None, :], mask=inside, other=0).to(tl.float32)
                    b = tl.load(x + row[:, None] * stride_x + c[None, :], mask=inside, other=0).to(tl.float32)
                    exact += tl.sum((a - b) * (a - b), 1)
                new = _square_bits(exact) | row
            enters = wants & (new < worst)
            best = tl.where(enters[:, None] & (best == worst[:, None]), new[:, None], best)
            worst = tl.max(best, 1)
            key = tl.where(key == chosen[:, None], far, key)
            chosen = tl.min(key, 1)
            if ESTIMATE:
                wants = (chosen < far) & (_square(chosen) - room <= _square(worst))
            else:
                wants = (chosen < far) & (chosen < worst)
            more = tl.max(wants.to(tl.int32), 0)
    best = tl.sort(best, dim=1)
    place = slot - (BLOCK_K - k)
    there = asks[:, None] & (place >= 0)[None, :]
    at = i[:, None] * k + place[None, :]
    tl.store(index + at, tl.where(best < far, best & 0xFFFFFFFF, -1), mask=there)
    tl.store(distance + at, tl.sqrt(_square(tl.minimum(best, far))), mask=there)


def nearest(
    x: Tensor, y: Tensor, k: int, batch_x: Tensor | None, batch_y: Tensor | None, alone: bool
) -> tuple[Tensor, Tensor]:
    """Rows [M, k] of `x` nearest to each of `y`, nearest first, and the float32 distances; -1 and infinity where there
    are fewer. `alone`: y are the rows of x, and none is its own neighbour.
    """
    x, y = rows_of(x), rows_of(y)
    queries, channels = y.shape
    index = torch.empty(queries, k, dtype=torch.int64, device=x.device)
    distance = torch.empty(queries, k, dtype=torch.float32, device=x.device)
    estimate = channels > WIDE
    p = q = square_p = square_q = slack = distance
    if estimate:
        # About the middle, where least of a difference of large numbers is lost.
        middle = x.float().mean(0)
        p, q = x.float() - middle, y.float() - middle
        square_p, square_q = p.square().sum(1), q.square().sum(1)
        largest = square_p.amax() if len(p) else 0
        slack = (channels + 8) * ROUNDING * (square_q + largest)
    low = high = index
    if batch_x is not None and batch_y is not None:
        batch_x = batch_x.contiguous()
        low, high = (torch.searchsorted(batch_x, batch_y.contiguous(), right=right) for right in (False, True))
    block_k = max(power_of_2(k), 16)
    block_q = 32 if block_k <= 64 else 16
    start(
        knn_kernel, (triton.cdiv(queries, block_q),), x,
        x, y, p, q, square_p, square_q, slack, low, high, index, distance,
        x.stride(0), y.stride(0), x.size(0), queries, channels, k,
        BATCH=batch_x is not None, ALONE=alone, ESTIMATE=estimate,
        BLOCK_Q=block_q, BLOCK_N=64, BLOCK_C=32, BLOCK_K=block_k, num_warps=8,
    )  # fmt: skip
    return index, distance
