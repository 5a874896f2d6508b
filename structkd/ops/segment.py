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
from structkd.ops.precision import accumulator

_BLOCK = 2**20  # values compared at a time in the backward pass of the maximum


def segment_sum(src: Tensor, index: Tensor, num_segments: int, *, backend: str | None = None) -> Tensor:
    """Sum of each segment.

    Args:
        src: [E, ...] floating point; half and bfloat16 are summed in float32.
        index: [E] int64, from 0 to num_segments - 1.
        num_segments: number of segments.
        backend: `scatter`, the one there is.

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
        backend: `scatter`, the one there is.

    Returns:
        [num_segments, ...] in the dtype of `src`.
    """
    _check(src, index)
    return SEGMENT_MAX(src, index, num_segments, backend=backend)


def segment_softmax(src: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Softmax over the rows of each segment, per channel; [E, ...] like `src`, stable for any finite scores."""
    weight = _below_largest(src, index, num_segments).exp()
    return (weight / segment_sum(weight, index, num_segments)[index]).to(src.dtype)


def segment_log_softmax(src: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Logarithm of `segment_softmax`, taken without ever forming it."""
    score = _below_largest(src, index, num_segments)
    return (score - segment_sum(score.exp(), index, num_segments).log()[index]).to(src.dtype)


def _below_largest(src: Tensor, index: Tensor, num_segments: int) -> Tensor:
    # The shift cancels out of a softmax, so it needs no gradient.
    return src.to(accumulator(src)) - segment_max(src.detach(), index, num_segments)[index]


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


SEGMENT_SUM = Op("segment_sum", [Backend("scatter", _sum_scatter)])
SEGMENT_MAX = Op("segment_max", [Backend("scatter", _SegmentMax.apply)])
