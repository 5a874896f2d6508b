"""Where each channel is active, as a distribution over a sample's elements."""

from __future__ import annotations

from torch import Tensor

from structkd.errors import ConfigError
from structkd.losses.logits import kl_divergence
from structkd.losses.samples import check_pair
from structkd.ops.precision import accumulator
from structkd.ops.segment import segment_log_softmax


def channel_kl(f_s: Tensor, f_t: Tensor, tau: float = 4.0, batch: Tensor | None = None) -> Tensor:
    r"""Divergence between the channels' distributions over space.

    .. math::
        L = \frac{\tau^2}{B C} \sum_b \sum_c \sum_{i \in b} \phi_t[i, c] \log \frac{\phi_t[i, c]}{\phi_s[i, c]}, \qquad
        \phi[i, c] = softmax_{i \in b}(f[i, c] / \tau)

    Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021. Zero when
    the sides are equal up to a constant for each channel of a sample. Where one channel's activity matters far more
    than another's, note that all channels weigh the same.

    Args:
        f_s, f_t: [B, C, H, W] maps, or [N, C] rows.
        tau: temperature of both sides.
        batch: [N] sample of each row; None: all of one. Samples without elements do not count in B.

    Raises:
        DataError: shapes that do not fit.
        ConfigError: tau that is not positive.
    """
    check_pair(f_s, f_t, batch)
    dtype = accumulator(f_s, f_t)
    f_s, f_t = f_s.to(dtype), f_t.to(dtype)
    if f_s.dim() == 4 or batch is None:
        f_s, f_t = (f.flatten(2) if f.dim() == 4 else f.t() for f in (f_s, f_t))
        return f_s.sum() * 0 if not f_s.numel() else kl_divergence(f_s, f_t, tau, scale_tau2=True)
    if tau <= 0:
        raise ConfigError(f"tau is {tau}; a temperature is positive.")
    samples = int(batch.max()) + 1 if batch.numel() else 0
    log_s, log_t = (segment_log_softmax(f / tau, batch, samples) for f in (f_s, f_t))
    filled = max(int(batch.unique().numel()), 1)
    return (log_t.exp() * (log_t - log_s)).sum() * tau**2 / (filled * max(f_s.size(1), 1))
