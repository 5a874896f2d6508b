"""Difference between two maps at several scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from structkd.losses.features import feature_loss


def hierarchical_context(f_s: Tensor, f_t: Tensor, pools: Sequence[int] = (4, 2, 1)) -> Tensor:
    r"""Weighted mean of squared differences: of the maps, and of what is left of them on ever coarser grids.

    .. math:: L = \frac{\sum_l 2^{-l} MSE(pool_l(f_s), pool_l(f_t))}{\sum_l 2^{-l}}

    with pool_0 the maps themselves and pool_l their means on a grid of `pools[l - 1]` cells a side; grids that are not
    coarser than the maps are left out (and take no weight). Chen et al., "Distilling Knowledge via Knowledge Review",
    CVPR 2021 (hierarchical context loss). Zero when the sides are equal.

    Args:
        f_s, f_t: [B, C, H, W].
        pools: cells a side, from fine to coarse.

    Raises:
        DataError: shapes that do not fit.
    """
    total, weight, weights = feature_loss(f_s, f_t), 1.0, 1.0
    for cells in pools:
        if cells >= min(f_s.shape[-2:]):
            continue
        weight /= 2
        coarse_s, coarse_t = (F.adaptive_avg_pool2d(f, (cells, cells)) for f in (f_s, f_t))
        total, weights = total + weight * feature_loss(coarse_s, coarse_t), weights + weight
    return total / weights
