"""Divergence between two softmaxes over the rows of each segment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from structkd.backends import Backend, Op
from structkd.errors import DataError
from structkd.ops.precision import accumulator
from structkd.ops.segment import rows_by_segment, segment_max, segment_sum
from structkd.ops.triton.launch import refusals

#: Up to this growth of a segment's sum of exponentials its logarithm is taken of the growth, which keeps its digits.
_SMALL = 0.5
#: Differences above this are left to the plain logarithms, which cannot overflow.
_LARGE = 20.0
#: Entries of a segment that a kernel's program takes alone.
_LONGEST = 2**14


def segment_kl(
    score_p: Tensor,
    score_q: Tensor,
    index: Tensor,
    num_segments: int,
    zeros: Tensor | None = None,
    *,
    backend: str | None = None,
) -> Tensor:
    r"""Divergence of one softmax from another within each segment.

    .. math:: KL_i = \sum_{e \in i} p_e (\log p_e - \log q_e), \qquad p = softmax_i(a), \quad q = softmax_i(b)

    Zero where the scores of a segment differ by a constant. With d = b - a this is
    :math:`\log \sum_e p_e \exp(d_e) - \sum_e p_e d_e`. So entries whose score is zero on both sides cost nothing,
    however many there are: `zeros` counts them. A softmax over all N columns of a sparse matrix is one over its entries
    and N minus their number of zeros, exactly. With few entries among many zeros the divergence is
    far smaller than its logarithms; written with d it keeps its digits.

    Args:
        score_p, score_q: [E] scores a and b; both may learn. Half and bfloat16 are computed in float32.
        index: [E] int64 segment of each, in any order.
        num_segments: number of segments.
        zeros: [num_segments] how many further entries of score 0 each segment has. Default: none.
        backend: `triton` (CUDA) or `analytic` (gradients by the formula, of first order), or `composed` of maxima and
            sums (the reference).

    Returns:
        [num_segments]; zero for an empty segment.

    Raises:
        DataError: shapes that do not fit.
    """
    if score_p.dim() != 1 or score_p.shape != score_q.shape or score_p.shape != index.shape:
        raise DataError(
            f"segment_kl got scores {tuple(score_p.shape)} and {tuple(score_q.shape)} for {tuple(index.shape)} "
            "segment ids; expected one shape [E]."
        )
    if zeros is not None and zeros.shape != (num_segments,):
        raise DataError(f"zeros has shape {tuple(zeros.shape)}; expected [{num_segments}], one count a segment.")
    return SEGMENT_KL(score_p, score_q, index, num_segments, zeros, backend=backend)


def _composed(
    score_p: Tensor, score_q: Tensor, index: Tensor, num_segments: int, zeros: Tensor | None = None
) -> Tensor:
    dtype = accumulator(score_p, score_q)
    a, b = score_p.to(dtype), score_q.to(dtype)
    log_p, log_q = (_weights(score, index, num_segments, zeros)[2] for score in (a, b))
    p, d = (a - log_p[index]).exp(), b - a
    growth = segment_sum(p * torch.expm1(d.clamp(max=_LARGE)), index, num_segments)
    small = (growth.abs() < _SMALL) & (segment_max(d.detach(), index, num_segments) < _LARGE)
    gain = torch.where(small, torch.log1p(torch.where(small, growth, 0)), log_q - log_p)
    return gain - segment_sum(p * d, index, num_segments)


def _weights(score: Tensor, index: Tensor, num_segments: int, zeros: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Exponentials [E] in units of their segment's largest, their sum with that of the zeros [num_segments] (1 where
    there is nothing), and its logarithm in units of 1 (0 there)."""
    largest = segment_max(score.detach(), index, num_segments)
    if zeros is not None:
        largest = torch.where(zeros > 0, largest.clamp(min=0), largest)
    weight = (score - largest.index_select(0, index)).exp_()
    total = segment_sum(weight, index, num_segments)
    if zeros is not None:
        total = total + zeros * (-largest).exp()
    total = torch.where(total > 0, total, 1)
    return weight, total, largest + total.log()


class _KL(Function):
    @staticmethod
    def forward(
        ctx: Any, score_p: Tensor, score_q: Tensor, index: Tensor, num_segments: int, zeros: Tensor | None
    ) -> Tensor:
        dtype = accumulator(score_p, score_q)
        a, b = score_p.to(dtype), score_q.to(dtype)
        log_q = _weights(b, index, num_segments, zeros)[2]
        p, total, log_p = _weights(a, index, num_segments, zeros)
        p.div_(total.index_select(0, index))
        d = b - a
        # What overflows is inf or NaN, and so not small: without a gradient nothing has to be clamped.
        growth = segment_sum(torch.expm1(d).mul_(p), index, num_segments)
        small = growth.abs() < _SMALL
        gain = torch.where(small, torch.log1p(torch.where(small, growth, 0)), log_q - log_p)
        value = gain - segment_sum(d.mul_(p), index, num_segments)
        ctx.save_for_backward(score_p, score_q, index, value, log_p, log_q)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        score_p, score_q, index, value, log_p, log_q = ctx.saved_tensors
        a, b = score_p - log_p.index_select(0, index), score_q - log_q.index_select(0, index)
        p, g = a.exp(), grad.index_select(0, index)
        of_p = of_q = None
        # By a: p (log p - log q - KL);  by b: q - p.
        if ctx.needs_input_grad[0]:
            of_p = ((a - b).sub_(value.index_select(0, index)).mul_(p).mul_(g)).to(score_p.dtype)
        if ctx.needs_input_grad[1]:
            of_q = b.exp_().sub_(p).mul_(g).to(score_q.dtype)
        return of_p, of_q, None, None, None


class _RowKL(Function):
    @staticmethod
    def forward(
        ctx: Any, score_p: Tensor, score_q: Tensor, index: Tensor, num_segments: int, zeros: Tensor | None
    ) -> Tensor:
        from structkd.ops.triton.segment_kl import row_kl

        csr = rows_by_segment(index, num_segments)
        found = row_kl(csr, score_p, score_q, zeros, accumulator(score_p, score_q), _SMALL, _LARGE)
        ctx.save_for_backward(score_p, score_q, index, *found)
        return found[0].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from structkd.ops.triton.segment_kl import row_kl_backward

        score_p, score_q, index, *found = ctx.saved_tensors
        learns = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        return *row_kl_backward(score_p, score_q, index, tuple(found), grad, learns), None, None, None


def _analytic(
    score_p: Tensor, score_q: Tensor, index: Tensor, num_segments: int, zeros: Tensor | None = None
) -> Tensor:
    return _KL.apply(score_p, score_q, index, num_segments, zeros)


def _triton(score_p: Tensor, score_q: Tensor, index: Tensor, num_segments: int, zeros: Tensor | None = None) -> Tensor:
    return _RowKL.apply(score_p, score_q, index, num_segments, zeros)


def _no_triton(
    score_p: Tensor | None = None,
    score_q: Tensor | None = None,
    index: Tensor | None = None,
    num_segments: int = 0,
    zeros: Tensor | None = None,
) -> list[str]:
    reasons = refusals(score_p, score_q, index, zeros)
    if index is not None and not reasons:
        longest = rows_by_segment(index, num_segments).pieces.longest
        if longest > _LONGEST:
            return [f"a segment of {longest} rows is more than one program should take ({_LONGEST})"]
    return reasons


SEGMENT_KL = Op(
    "segment_kl",
    [Backend("triton", _triton, _no_triton), Backend("analytic", _analytic), Backend("composed", _composed)],
)
