"""Reductions of rows that belong together: messages by target, edges by node, points by pillar.

`index[i]` names the segment of row i, in any order. Sums over a graph's features belong to `spmm`, which
holds no [E, C]; these are for values that live on the rows already (scores, weights, points).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from structkd.backends import Backend, Op
from structkd.errors import DataError
from structkd.ops import torch_scatter
from structkd.ops.csr import CSR
from structkd.ops.memo import TensorMemo
from structkd.ops.precision import accumulator
from structkd.ops.triton.launch import refusals

_BLOCK = 2**20  # values compared at a time in the backward pass of the maximum
_LONGEST = 2**14  # rows of a segment that a kernel's program takes alone


def segment_sum(src: Tensor, index: Tensor, num_segments: int, *, backend: str | None = None) -> Tensor:
    """Sum of each segment.

    Args:
        src: [E, ...] floating point; half and bfloat16 are summed in float32.
        index: [E] int64, from 0 to num_segments - 1.
        num_segments: number of segments.
        backend: `triton` (CUDA; deterministic; sorts an index once for as long as it lives unchanged), `scatter`,
            or on request `torch_scatter`.

    Returns:
        [num_segments, ...] in the dtype of `src`; zero for an empty segment.
    """
    _check(src, index)
    return SEGMENT_SUM(src, index, num_segments, backend=backend)


def segment_mean(src: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Mean of each segment, zero for an empty one; arguments as for `segment_sum`."""
    total = segment_sum(src.to(accumulator(src)), index, num_segments)
    count = torch.bincount(index, minlength=num_segments).clamp(min=1)
    return (total / _rowwise(count, total)).to(src.dtype)


def segment_max(src: Tensor, index: Tensor, num_segments: int, *, backend: str | None = None) -> Tensor:
    """Maximum of each segment, per channel.

    Zero for an empty segment. The gradient goes to one row a segment and channel, the first of those that
    reach the maximum (torch's own backward shares it among them and takes ten times as long). NaN is the
    maximum of any segment it is in and passes no gradient.

    Args:
        src: [E, ...] floating point.
        index: [E] int64, from 0 to num_segments - 1.
        num_segments: number of segments.
        backend: `triton` (CUDA) or `scatter`.

    Returns:
        [num_segments, ...] in the dtype of `src`.
    """
    _check(src, index)
    return SEGMENT_MAX(src, index, num_segments, backend=backend)


def segment_softmax(src: Tensor, index: Tensor, num_segments: int, *, backend: str | None = None) -> Tensor:
    """Softmax over the rows of each segment, per channel; [E, ...] like `src`, stable for any finite scores.

    Args:
        src, index, num_segments: as for `segment_sum`.
        backend: `triton` (CUDA; two passes over the rows, gradients of first order), `analytic` (its gradient by the
            formula) or `composed` of maxima and sums (the reference); on request `torch_scatter`.
    """
    _check(src, index)
    return SEGMENT_SOFTMAX(src, index, num_segments, False, backend=backend)


def segment_log_softmax(src: Tensor, index: Tensor, num_segments: int, *, backend: str | None = None) -> Tensor:
    """Logarithm of `segment_softmax`, taken without ever forming it."""
    _check(src, index)
    return SEGMENT_SOFTMAX(src, index, num_segments, True, backend=backend)


def _composed_softmax(src: Tensor, index: Tensor, num_segments: int, log: bool) -> Tensor:
    # The shift cancels out of a softmax, so it needs no gradient.
    score = src.to(accumulator(src)) - segment_max(src.detach(), index, num_segments)[index]
    weight = score.exp()
    total = segment_sum(weight, index, num_segments)
    return (score - total.log()[index] if log else weight / total[index]).to(src.dtype)


def _check(src: Tensor, index: Tensor) -> None:
    if index.dim() != 1 or src.dim() < 1 or src.size(0) != index.numel() or not src.is_floating_point():
        raise DataError(
            f"src is {src.dtype} of shape {tuple(src.shape)} and index has shape {tuple(index.shape)}; "
            "expected floating point [E, ...] and [E]."
        )


def _rowwise(index: Tensor, like: Tensor) -> Tensor:
    """`index` [E] as an [E, 1, ...] view that lines up with the rows of `like`."""
    return index.view(-1, *[1] * (like.dim() - 1))


def _sum_scatter(src: Tensor, index: Tensor, num_segments: int) -> Tensor:
    summed = src.to(accumulator(src))
    out = summed.new_zeros(num_segments, *src.shape[1:])
    # On an expanded index scatter_add runs twice as fast as index_add.
    return out.scatter_add(0, _rowwise(index, src).expand_as(src), summed).to(src.dtype)


class _SegmentMax(Function):
    @staticmethod
    def forward(ctx: Any, src: Tensor, index: Tensor, num_segments: int) -> Tensor:
        out = src.new_zeros(num_segments, *src.shape[1:])
        out = out.scatter_reduce(0, _rowwise(index, src).expand_as(src), src, "amax", include_self=False)
        ctx.save_for_backward(src, index, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        src, index, out = ctx.saved_tensors
        # One row more than there are takes what belongs to nobody: empty segments, and NaN.
        grad_src = grad.new_zeros(src.size(0) + 1, *src.shape[1:])
        return grad_src.scatter_(0, _first_winners(src, index, out), grad)[:-1], None, None


def _first_winners(src: Tensor, index: Tensor, out: Tensor) -> Tensor:
    """First row that equals its segment's maximum, [num_segments, ...]; the number of rows where there is none.

    Rows are compared a block at a time: cache-sized, and nothing of [E, ...] beside `src` itself.
    """
    rows, channels = src.size(0), math.prod(src.shape[1:])
    values, largest = src.reshape(rows, channels), out.reshape(out.size(0), channels)
    winner = torch.full((out.numel(),), rows, device=src.device)
    step = max(1, _BLOCK // max(1, channels))
    for start in range(0, rows, step):
        segment = index[start : start + step]
        row, channel = (values[start : start + step] == largest[segment]).nonzero(as_tuple=True)
        winner.scatter_reduce_(0, segment[row] * channels + channel, row + start, "amin")
    return winner.view_as(out)


class _Softmax(Function):
    """Softmax or its logarithm, with a backward that can itself be differentiated."""

    @staticmethod
    def forward(ctx: Any, src: Tensor, index: Tensor, num_segments: int, log: bool) -> Tensor:
        largest = segment_max(src, index, num_segments).to(accumulator(src))
        out = src - largest.index_select(0, index)
        weight = out.exp() if log else out.exp_()
        total = segment_sum(weight, index, num_segments)
        if log:
            out = out.sub_(total.log_().index_select(0, index))
        else:
            out = weight.div_(total.index_select(0, index))
        out = out.to(src.dtype)
        ctx.save_for_backward(out, index)
        ctx.num_segments, ctx.log = num_segments, log
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        out, index = ctx.saved_tensors
        # log p: g - p sum(g);  p: p (g - sum(p g)).
        share = out.exp() if ctx.log else grad * out
        total = segment_sum(grad if ctx.log else share, index, ctx.num_segments).index_select(0, index)
        return grad - share * total if ctx.log else share - out * total, None, None, None


def _group(index: Tensor, num_segments: int) -> CSR:
    keys = index.int() if num_segments <= torch.iinfo(torch.int32).max else index
    order = torch.sort(keys, stable=True).indices
    count = torch.bincount(index, minlength=num_segments)
    order = order.int() if order.numel() <= torch.iinfo(torch.int32).max else order
    rowptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    return CSR(rowptr, order, order, None, (num_segments, index.numel()))


#: Rows by segment, as compressed rows.
rows_by_segment = TensorMemo(_group)


class _RowSum(Function):
    @staticmethod
    def forward(ctx: Any, src: Tensor, index: Tensor, num_segments: int) -> Tensor:
        from structkd.ops.triton.spmm import row_product

        ctx.save_for_backward(index)
        out = row_product(rows_by_segment(index, num_segments), _as_rows(src), None)
        return out.view(num_segments, *src.shape[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad[ctx.saved_tensors[0]], None, None


class _RowMax(Function):
    @staticmethod
    def forward(ctx: Any, src: Tensor, index: Tensor, num_segments: int) -> Tensor:
        from structkd.ops.triton.segment import row_max

        out, winner = row_max(rows_by_segment(index, num_segments), _as_rows(src))
        ctx.shape = src.shape
        ctx.save_for_backward(winner)
        return out.view(num_segments, *src.shape[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (winner,) = ctx.saved_tensors
        grad_src = grad.new_zeros(ctx.shape[0] + 1, winner.size(1))
        return grad_src.scatter_(0, winner, grad.reshape(winner.shape))[:-1].view(ctx.shape), None, None


class _RowSoftmax(Function):
    @staticmethod
    def forward(ctx: Any, src: Tensor, index: Tensor, num_segments: int, log: bool) -> Tensor:
        from structkd.ops.triton.segment import row_softmax

        csr = rows_by_segment(index, num_segments)
        out = row_softmax(csr, _as_rows(src), log).view(src.shape)
        ctx.save_for_backward(out)
        ctx.csr, ctx.log = csr, log
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from structkd.ops.triton.segment import row_softmax_backward

        (out,) = ctx.saved_tensors
        found = row_softmax_backward(ctx.csr, _as_rows(out), _as_rows(grad), ctx.log)
        return found.view(out.shape), None, None, None


def _as_rows(src: Tensor) -> Tensor:
    return src.reshape(src.size(0), math.prod(src.shape[1:]))


def _no_triton(src: Tensor | None = None, index: Tensor | None = None, *rest: Any) -> list[str]:
    return refusals(src, index)


def _no_softmax(
    src: Tensor | None = None, index: Tensor | None = None, num_segments: int = 0, log: bool = False
) -> list[str]:
    reasons = refusals(src, index)
    if index is not None and not reasons:
        longest = rows_by_segment(index, num_segments).pieces.longest
        if longest > _LONGEST:
            return [f"a segment of {longest} rows is more than one program should take ({_LONGEST})"]
    return reasons


SEGMENT_SUM = Op(
    "segment_sum",
    [
        Backend("triton", _RowSum.apply, _no_triton),
        Backend("torch_scatter", torch_scatter.scatter_sum, torch_scatter.missing, on_request=True),
        Backend("scatter", _sum_scatter),
    ],
)
SEGMENT_MAX = Op("segment_max", [Backend("triton", _RowMax.apply, _no_triton), Backend("scatter", _SegmentMax.apply)])
SEGMENT_SOFTMAX = Op(
    "segment_softmax",
    [
        Backend("triton", _RowSoftmax.apply, _no_softmax),
        Backend("torch_scatter", torch_scatter.scatter_softmax, torch_scatter.missing, on_request=True),
        Backend("analytic", _Softmax.apply),
        Backend("composed", _composed_softmax),
    ],
)
