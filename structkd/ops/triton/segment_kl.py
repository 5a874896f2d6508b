"""Divergence between two softmaxes within each segment, and its gradients, a few segments a program."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from structkd.ops.csr import CSR
from structkd.ops.triton.launch import accumulates_in, start

#: Segments and entries of each that a program looks at at once: nearest neighbours come by the handful.
ROWS, ENTRIES = 32, 16


@triton.jit
def segment_kl_kernel(
    score_p, score_q, begin, end, order, zeros, out, log_z_p, log_z_q, segments,
    ZEROS: tl.constexpr, SMALL: tl.constexpr, LARGE: tl.constexpr, ACC: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    first = tl.load(begin + r, mask=r < segments, other=0).to(tl.int64)
    count = tl.load(end + r, mask=r < segments, other=0).to(tl.int64) - first
    nothing = tl.zeros([BLOCK_R], dtype=ACC)
    none = nothing
    if ZEROS:
        none = tl.load(zeros + r, mask=r < segments, other=0).to(ACC)
    # Largest scores, zeros among them; then the sums; then what is asked.
    top_p = tl.where(none > 0, nothing, -3.4e38)
    top_q = top_p
    top_d = nothing - 3.4e38
    longest = tl.max(count, 0)
    for block in range(0, longest, BLOCK_E):
        k = block + tl.arange(0, BLOCK_E)
        here = k[None, :] < count[:, None]
        e = tl.load(order + first[:, None] + k[None, :], mask=here, other=0).to(tl.int64)
        a = tl.load(score_p + e, mask=here, other=-float("inf")).to(ACC)
        b = tl.load(score_q + e, mask=here, other=-float("inf")).to(ACC)
        top_p = tl.maximum(top_p, tl.max(a, 1))
        top_q = tl.maximum(top_q, tl.max(b, 1))
        top_d = tl.maximum(top_d, tl.max(tl.where(here, b - a, -3.4e38), 1))
    top_p = tl.where(top_p > -3.4e38, top_p, 0)
    top_q = tl.where(top_q > -3.4e38, top_q, 0)
    sum_p = none * tl.exp(-top_p)
    sum_q = none * tl.exp(-top_q)
    for block in range(0, longest, BLOCK_E):
        k = block + tl.arange(0, BLOCK_E)
        here = k[None, :] < count[:, None]
        e = tl.load(order + first[:, None] + k[None, :], mask=here, other=0).to(tl.int64)
        a = tl.load(score_p + e, mask=here, other=-float("inf")).to(ACC)
        b = tl.load(score_q + e, mask=here, other=-float("inf")).to(ACC)
        sum_p += tl.sum(tl.exp(a - top_p[:, None]), 1)
        sum_q += tl.sum(tl.exp(b - top_q[:, None]), 1)
    log_p = top_p + tl.log(tl.where(sum_p > 0, sum_p, 1))
    log_q = top_q + tl.log(tl.where(sum_q > 0, sum_q, 1))
    growth = nothing
    mean = nothing
    for block in range(0, longest, BLOCK_E):
        k = block + tl.arange(0, BLOCK_E)
        here = k[None, :] < count[:, None]
        e = tl.load(order + first[:, None] + k[None, :], mask=here, other=0).to(tl.int64)
        a = tl.load(score_p + e, mask=here, other=0).to(ACC)
        b = tl.load(score_q + e, mask=here, other=0).to(ACC)
        p = tl.where(here, tl.exp(a - log_p[:, None]), 0)
        d = b - a
        # expm1 without cancellation: e^(d/2) 2 sinh(d/2), sinh by its series where d is small.
        h = tl.minimum(d, LARGE) / 2
        h2 = h * h
        series = h2 * (1 / 6.0 + h2 * (1 / 120.0 + h2 * (1 / 5040.0 + h2 * (1 / 362880.0 + h2 / 39916800.0))))
        series = 2 * h * (1 + series) * tl.exp(h)
        growth += tl.sum(p * tl.where(tl.abs(h) < 0.5, series, tl.exp(2 * h) - 1), 1)
        mean += tl.sum(p * d, 1)
    small = (tl.abs(growth) < SMALL) & (top_d < LARGE)
    # log1p without cancellation: Kahan's u - 1 in place of x makes up for what 1 + x lost.
    u = 1 + tl.where(small, growth, 1.0)
    lost = u - 1
    log1p = tl.where(lost == 0, growth, tl.log(u) * (growth / tl.where(lost == 0, 1.0, lost)))
    value = tl.where(count > 0, tl.where(small, log1p, log_q - log_p) - mean, 0)
    tl.store(out + r, value, mask=r < segments)
    tl.store(log_z_p + r, log_p, mask=r < segments)
    tl.store(log_z_q + r, log_q, mask=r < segments)


@triton.jit
def segment_kl_backward_kernel(
    score_p, score_q, index, value, log_z_p, log_z_q, grad, grad_p, grad_q, entries,
    LEARN_P: tl.constexpr, LEARN_Q: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    e = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = e < entries
    r = tl.load(index + e, mask=here, other=0).to(tl.int64)
    a = tl.load(score_p + e, mask=here, other=0).to(ACC)
    b = tl.load(score_q + e, mask=here, other=0).to(ACC)
    log_p = a - tl.load(log_z_p + r, mask=here, other=0)
    log_q = b - tl.load(log_z_q + r, mask=here, other=0)
    g = tl.load(grad + r, mask=here, other=0)
    p = tl.exp(log_p)
    if LEARN_P:
        slope = g * p * (log_p - log_q - tl.load(value + r, mask=here, other=0))
        tl.store(grad_p + e, slope.to(grad_p.dtype.element_ty), mask=here)
    if LEARN_Q:
        tl.store(grad_q + e, (g * (tl.exp(log_q) - p)).to(grad_q.dtype.element_ty), mask=here)


def row_kl(
    csr: CSR, score_p: Tensor, score_q: Tensor, zeros: Tensor | None, dtype: torch.dtype, small: float, large: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Divergence [N] of each row's scores [E], and the logarithms that normalise both sides; all in `dtype`."""
    score_p, score_q = score_p.contiguous(), score_q.contiguous()
    segments = csr.shape[0]
    out = [torch.empty(segments, dtype=dtype, device=score_p.device) for _ in range(3)]
    start(
        segment_kl_kernel, (triton.cdiv(segments, ROWS),), score_p,
        score_p, score_q, csr.rowptr[:-1], csr.rowptr[1:], csr.col, out[0] if zeros is None else zeros.contiguous(),
        *out, segments,
        ZEROS=zeros is not None, SMALL=small, LARGE=large, ACC=accumulates_in(dtype),
        BLOCK_R=ROWS, BLOCK_E=ENTRIES, num_warps=4,
    )  # fmt: skip
    return out[0], out[1], out[2]


def row_kl_backward(
    score_p: Tensor, score_q: Tensor, index: Tensor, found: tuple[Tensor, Tensor, Tensor], grad: Tensor,
    learns: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients by both scores, from what `row_kl` found and the gradient [N] by the divergences."""
    score_p, score_q, index, grad = (x.contiguous() for x in (score_p, score_q, index, grad))
    of_p = torch.empty_like(score_p) if learns[0] else None
    of_q = torch.empty_like(score_q) if learns[1] else None
    start(
        segment_kl_backward_kernel, (triton.cdiv(index.numel(), 512),), score_p,
        score_p, score_q, index, *found, grad, grad if of_p is None else of_p, grad if of_q is None else of_q,
        index.numel(),
        LEARN_P=learns[0], LEARN_Q=learns[1], ACC=accumulates_in(found[0].dtype), BLOCK=512, num_warps=4,
    )  # fmt: skip
    return of_p, of_q
