"""Correlation of the channels of two feature maps."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.losses.samples import check_pair
from structkd.ops.precision import accumulator


def correlation_loss(f_s: Tensor, f_t: Tensor) -> Tensor:
    r"""How far each channel is from a perfect correlation with its counterpart, mean over channels.

    .. math:: L = \frac{1}{2 M C} \sum_c \sum_i (\hat f_s[i, c] - \hat f_t[i, c])^2 = \frac{1}{C} \sum_c (1 - r_c),
              \qquad \hat f = \frac{f - mean(f)}{std(f)}

    with mean and (biased) standard deviation of a channel over all M elements of the batch, and r_c the Pearson
    correlation coefficient of the two sides' channel c. Cao et al., "PKD: General Distillation Framework for Object
    Detectors via Pearson Correlation Coefficient", NeurIPS 2022. Zero when the sides are equal, also up to a shift and
    a positive factor of a channel; 1 without correlation.

    A channel that is constant on one side (a dead unit) has no correlation: its standardised features are 0 there, so
    that it costs 1/2 and teaches nothing; where both sides are constant it costs nothing.

    Args:
        f_s, f_t: [B, C, H, W] maps, or [N, C] rows. The statistics are the batch's, as published: the loss of a
            sample depends on the others beside it.

    Raises:
        DataError: shapes that do not fit.

    Differences: the published code (mmdet) adds 1e-6 to an unbiased standard deviation, so that faint channels count
    less; here a channel counts in full unless rounding is all that varies.
    """
    check_pair(f_s, f_t)
    if not f_s.numel():
        return f_s.sum() * 0
    return (_standardised(f_s) - _standardised(f_t)).square().mean() / 2


def _standardised(f: Tensor) -> Tensor:
    """The features with mean 0 and variance 1 in each channel; zero in a constant one."""
    f = f.to(accumulator(f))
    over = [d for d in range(f.dim()) if d != 1]
    mean = f.mean(over, keepdim=True)
    centred = f - mean
    variance = centred.square().mean(over, keepdim=True)
    rounding = (16 * torch.finfo(f.dtype).eps * mean.detach().abs()).square()
    varies = variance > rounding
    return torch.where(varies, centred, 0) / torch.where(varies, variance, 1).sqrt()
