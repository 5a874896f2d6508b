"""Reductions of rows that belong together: messages by target, edges by node, points by pillar.

`index[i]` names the segment of row i, in any order. Sums over a graph's features belong to `spmm`, which
holds no [E, C]; these are for values that live on the rows already (scores, weights, points).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from structkd.backends import Backend, Op
from structkd.errors import DataError
from structkd.ops.precision import accumulator


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
    weight = (src - _largest(src, index, num_segments)[index]).exp()
    return weight / segment_sum(weight, index, num_segments)[index]


def segment_log_softmax(src: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Logarithm of `segment_softmax`, taken without ever forming it."""
    shifted = src - _largest(src, index, num_segments)[index]
    return shifted - segment_sum(shifted.exp(), index, num_segments).log()[index]


def _largest(src: Tensor, index: Tensor, num_segments: int) -> Tensor:
    # A shift cancels out, so it needs no gradient.
    return segment_max(src.detach(), index, num_segments)


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
    def forward(ctx, src: Tensor, index: Tensor, num_segments: int) -> Tensor:
        target = _rowwise(index, src).expand_as(src)
        out = src.new_zeros(num_segments, *src.shape[1:])
        out = out.scatter_reduce(0, target, src, "amax", include_self=False)
        ctx.rows = index.numel()
        if ctx.needs_input_grad[0]:
            # Remember the winners, [num_segments, ...], and let go of the rows. `rows` stands for nobody.
            narrow = torch.int32 if ctx.rows < torch.iinfo(torch.int32).max else torch.int64
            position = _rowwise(torch.arange(ctx.rows, dtype=narrow, device=src.device), src)
            position = torch.where(src == out[index], position, ctx.rows)
            nobody = torch.full_like(out, ctx.rows, dtype=narrow)
            ctx.save_for_backward(nobody.scatter_reduce(0, target, position, "amin"))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (winner,) = ctx.saved_tensors
        # One row more than there are takes what belongs to nobody.
        grad_src = grad.new_zeros(ctx.rows + 1, *grad.shape[1:])
        return grad_src.scatter_(0, winner.long(), grad)[: ctx.rows], None, None


SEGMENT_SUM = Op("segment_sum", [Backend("scatter", _sum_scatter)])
SEGMENT_MAX = Op("segment_max", [Backend("scatter", lambda *args: _SegmentMax.apply(*args))])
