"""Divergence between two sets of class scores: of one class among several, or of each class by itself."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from structkd.errors import ConfigError, DataError
from structkd.ops.precision import accumulator


def kl_divergence(
    z_s: Tensor,
    z_t: Tensor,
    tau: float = 1.0,
    weight: Tensor | None = None,
    reduction: str = "batchmean",
    scale_tau2: bool = False,
) -> Tensor:
    r"""Kullback-Leibler divergence of the student's class distribution from the teacher's, in log space.

    .. math:: KL_i = \sum_k p_t[i, k] (\log p_t[i, k] - \log p_s[i, k]), \quad p = softmax(z / \tau)

    Zero when the distributions are equal. Both sides stay logarithms until the last product, so that logits far
    apart give neither NaN nor infinity. Half and bfloat16 logits are compared in float32: a divergence is the small
    difference of sums over K classes.

    Args:
        z_s, z_t: [..., K] logits of student and teacher; every dimension but the last counts rows.
        tau: temperature of both sides.
        weight: [...] weight of each row, or None for 1.
        reduction: "batchmean" is the sum over rows divided by their number (not by the sum of the weights; 0 without
            rows), "none" is one value a row.
        scale_tau2: multiply by tau^2, which keeps the gradient's size independent of tau (Hinton et al., "Distilling
            the Knowledge in a Neural Network", 2015). The GNN-to-MLP papers do not.

    Raises:
        DataError: the shapes differ.
        ConfigError: unknown reduction, or tau that is not positive.
    """
    if z_s.shape != z_t.shape:
        raise DataError(
            f"Student logits have shape {tuple(z_s.shape)}, teacher logits {tuple(z_t.shape)}; expected one."
        )
    if reduction not in ("batchmean", "none"):
        raise ConfigError(f"reduction is '{reduction}'; expected 'batchmean' or 'none'.")
    if tau <= 0:
        raise ConfigError(f"tau is {tau}; a temperature is positive.")
    z_s, z_t = (z.to(accumulator(z_s, z_t)) for z in (z_s, z_t))
    log_p_s, log_p_t = F.log_softmax(z_s / tau, dim=-1), F.log_softmax(z_t / tau, dim=-1)
    rows = F.kl_div(log_p_s, log_p_t, reduction="none", log_target=True).sum(-1)
    if weight is not None:
        rows = rows * weight
    if scale_tau2:
        rows = rows * tau**2
    return rows if reduction == "none" else rows.sum() / max(rows.numel(), 1)


def binary_kl_divergence(z_s: Tensor, z_t: Tensor, tau: float = 1.0) -> Tensor:
    r"""Divergence of the student's yes-or-no probabilities from the teacher's, elementwise and in log space.

    .. math:: KL = p_t \log \frac{p_t}{p_s} + (1 - p_t) \log \frac{1 - p_t}{1 - p_s}, \quad p = \sigma(z / \tau)

    For heads whose classes do not exclude each other (detectors, several labels a sample). Zero when the sides are
    equal; logits far apart give neither NaN nor infinity. Half and bfloat16 logits are compared in float32.

    Args:
        z_s, z_t: [...] logits of student and teacher.
        tau: temperature of both sides; no factor tau^2.

    Returns:
        [...] like the logits.

    Raises:
        DataError: the shapes differ.
        ConfigError: tau that is not positive.
    """
    if z_s.shape != z_t.shape:
        raise DataError(
            f"Student logits have shape {tuple(z_s.shape)}, teacher logits {tuple(z_t.shape)}; expected one."
        )
    if tau <= 0:
        raise ConfigError(f"tau is {tau}; a temperature is positive.")
    z_s, z_t = (z.to(accumulator(z_s, z_t)) / tau for z in (z_s, z_t))
    yes = z_t.sigmoid() * (F.logsigmoid(z_t) - F.logsigmoid(z_s))
    no = (-z_t).sigmoid() * (F.logsigmoid(-z_t) - F.logsigmoid(-z_s))
    return yes + no
