"""Divergence between two softmaxes over the rows of each segment."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.errors import DataError
from structkd.ops.precision import accumulator
from structkd.ops.segment import segment_max, segment_sum

#: Up to this growth of a segment's sum of exponentials its logarithm is taken of the growth, which keeps its digits.
_SMALL = 0.5
#: Differences above this are left to the plain logarithms, which cannot overflow.
_LARGE = 20.0


def segment_kl(
    score_p: Tensor, score_q: Tensor, index: Tensor, num_segments: int, zeros: Tensor | None = None
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
    dtype = accumulator(score_p, score_q)
    a, b = score_p.to(dtype), score_q.to(dtype)
    log_p, log_q = (_log_total(score, index, num_segments, zeros) for score in (a, b))
    p, d = (a - log_p[index]).exp(), b - a
    growth = segment_sum(p * torch.expm1(d.clamp(max=_LARGE)), index, num_segments)
    small = (growth.abs() < _SMALL) & (segment_max(d.detach(), index, num_segments) < _LARGE)
    gain = torch.where(small, torch.log1p(torch.where(small, growth, 0)), log_q - log_p)
    return gain - segment_sum(p * d, index, num_segments)


def _log_total(score: Tensor, index: Tensor, num_segments: int, zeros: Tensor | None) -> Tensor:
    """[num_segments] logarithm of the sum of exponentials of each segment and its zeros; 0 where there is nothing."""
    largest = segment_max(score.detach(), index, num_segments)
    if zeros is not None:
        largest = torch.where(zeros > 0, largest.clamp(min=0), largest)
    total = segment_sum((score - largest[index]).exp(), index, num_segments)
    if zeros is not None:
        total = total + zeros * (-largest).exp()
    return largest + torch.where(total > 0, total, 1).log()
