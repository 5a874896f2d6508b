"""Ranking metrics for link prediction: Hits@K, mean reciprocal rank and the area under the ROC curve.

All of them compare the scores of true links with those of false ones, so any scale will do; they count in float64
and sort once. Ties are split evenly, except in Hits@K, where a true link must beat the K-th false one outright.
"""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.errors import DataError


def hits_at_k(positive: Tensor, negative: Tensor, k: int) -> float:
    """Share of the true links that score above the `k`-th best false one (the rule of the OGB evaluators).

    Args:
        positive: [P] scores of true links.
        negative: [M] scores of false links, shared by all true ones.
        k: from 1; with fewer than `k` false links every true link is a hit.
    """
    _check(positive, negative, shared=True)
    if k < 1:
        raise DataError(f"Hits@K needs k of at least 1; got {k}.")
    if negative.numel() < k:
        return 1.0
    threshold = negative.topk(k).values[-1]
    return float((positive > threshold).double().mean())


def mean_reciprocal_rank(positive: Tensor, negative: Tensor) -> float:
    """Mean of 1 / rank of each true link among its false ones; the rank counts a tie as half a place.

    Args:
        positive: [P] scores of true links.
        negative: [P, M] scores of each true link's own false ones, or [M] shared by all.
    """
    _check(positive, negative, shared=negative.dim() == 1)
    if negative.dim() == 1:
        above, equal = _above_and_equal(positive, negative)
    else:
        above = (negative > positive[:, None]).sum(1).double()
        equal = (negative == positive[:, None]).sum(1).double()
    return float((1 + above + equal / 2).reciprocal().mean())


def roc_auc(positive: Tensor, negative: Tensor) -> float:
    """Probability that a true link scores above a false one, ties counting half (Mann-Whitney), in O(n log n).

    Args:
        positive: [P] scores of true links (or of the positive class).
        negative: [M] scores of false links; at least one.
    """
    _check(positive, negative, shared=True)
    if negative.numel() == 0:
        raise DataError("The area under the ROC curve needs at least one false link; got none.")
    above, equal = _above_and_equal(positive, negative)
    return float(1 - ((above + equal / 2) / negative.numel()).mean())


def _above_and_equal(positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """For each positive, how many of the shared negatives score above it and how many the same."""
    ordered = negative.sort().values
    below = torch.searchsorted(ordered, positive.contiguous(), right=False)
    up_to = torch.searchsorted(ordered, positive.contiguous(), right=True)
    return (ordered.numel() - up_to).double(), (up_to - below).double()


def _check(positive: Tensor, negative: Tensor, shared: bool) -> None:
    fits = negative.dim() == 1 if shared else negative.dim() == 2 and negative.size(0) == positive.size(0)
    if positive.dim() != 1 or not fits:
        expected = "[P] and [M]" if shared else "[P] and [P, M]"
        raise DataError(
            f"Scores of true links {tuple(positive.shape)} and of false links {tuple(negative.shape)} do not fit; "
            f"expected {expected}."
        )
    if positive.numel() == 0:
        raise DataError("There is nothing to score: no true links were given.")
    if bool(torch.isnan(positive).any()) or bool(torch.isnan(negative).any()):
        raise DataError("Link scores hold NaN; a ranking of them means nothing.")
