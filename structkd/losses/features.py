"""Difference between two sets of features, element by element."""

from __future__ import annotations

from torch import Tensor

from structkd.errors import ConfigError
from structkd.losses.samples import check_pair, sample_mean
from structkd.ops.precision import accumulator


def feature_loss(f_s: Tensor, f_t: Tensor, metric: str = "mse", batch: Tensor | None = None) -> Tensor:
    r"""Mean difference of features: over channels, over the elements of a sample, over samples.

    .. math:: L = \frac{1}{B} \sum_b \frac{1}{N_b C} \sum_{i \in b} \sum_c |f_s[i, c] - f_t[i, c]|^p

    with p = 2 ("mse") or 1 ("l1"). The hint loss of FitNets (Romero et al., ICLR 2015, equation 3) up to its factor.
    Zero when the sides are equal; 0 without elements.

    Args:
        f_s, f_t: [B, C, H, W] maps (an element is a cell), or [N, C] rows.
        metric: "mse" or "l1".
        batch: [N] sample of each row; None: all of one.

    Raises:
        DataError: shapes that do not fit.
        ConfigError: unknown metric.
    """
    check_pair(f_s, f_t, batch)
    if metric not in ("mse", "l1"):
        raise ConfigError(f"metric is '{metric}'; expected 'mse' or 'l1'.")
    difference = (f_s - f_t).to(accumulator(f_s, f_t))
    error = difference.square() if metric == "mse" else difference.abs()
    if f_s.dim() == 4:
        return sample_mean(error)
    return sample_mean(error.mean(1), batch)
