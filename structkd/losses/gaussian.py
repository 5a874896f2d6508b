"""Likelihood of features under a prediction that knows how sure it is."""

from __future__ import annotations

from torch import Tensor

from structkd.errors import DataError
from structkd.losses.samples import check_pair, sample_mean
from structkd.ops.precision import accumulator


def gaussian_nll(mean: Tensor, f_t: Tensor, variance: Tensor, batch: Tensor | None = None) -> Tensor:
    r"""Negative log-likelihood of features under a normal distribution with one variance a channel.

    .. math:: L = \frac{1}{B} \sum_b \frac{1}{N_b C} \sum_{i \in b} \sum_c
              \frac{1}{2} \Big( \frac{(f_t[i, c] - \mu[i, c])^2}{\sigma_c^2} + \log \sigma_c^2 \Big)

    without the constant log(2 pi) / 2. Smallest, half the mean of log sigma^2, where the mean is the features; that may
    be negative.

    Args:
        mean, f_t: [B, C, H, W] maps, or [N, C] rows.
        variance: [C], positive.
        batch: [N] sample of each row; None: all of one.

    Raises:
        DataError: shapes that do not fit.
    """
    check_pair(mean, f_t, batch)
    if variance.shape != mean.shape[1:2]:
        raise DataError(f"variance has shape {tuple(variance.shape)}; expected [{mean.size(1)}], one a channel.")
    variance = variance.to(accumulator(mean, f_t)).view(-1, *[1] * (mean.dim() - 2))
    error = ((mean - f_t).to(variance.dtype).square() / variance + variance.log()) / 2
    return sample_mean(error) if mean.dim() == 4 else sample_mean(error.mean(1), batch)
