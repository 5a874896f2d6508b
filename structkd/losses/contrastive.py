"""Contrast of an element's counterpart with many others."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from structkd.errors import ConfigError, DataError


def sampled_info_nce(positive: Tensor, negative: Tensor, tau: float = 0.07, counts: Tensor | None = None) -> Tensor:
    r"""How surely the counterpart is told from the others, mean over elements.

    .. math:: L = - \frac{1}{B} \sum_i \log \frac{\exp(s_i / \tau)}{\exp(s_i / \tau) + \sum_k \exp(s_{ik} / \tau)}

    van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018, with negatives of one's own
    choice (those of the batch itself: `structkd.ops.info_nce`). log(1 + K) where all are alike, and 0 only without
    negatives.

    Args:
        positive: [B] similarity to the counterpart.
        negative: [B, K] similarities to others.
        tau: temperature.
        counts: [B, K] bool, negatives that count. Default: all.

    Raises:
        DataError: shapes that do not fit.
        ConfigError: tau that is not positive.
    """
    _check(positive, negative, counts)
    if tau <= 0:
        raise ConfigError(f"tau is {tau}; a temperature is positive.")
    if counts is not None:
        negative = negative.masked_fill(~counts, -math.inf)
    every = torch.cat([positive[:, None], negative], 1) / tau
    return (every.logsumexp(1) - every[:, 0]).sum() / max(every.size(0), 1)


def noise_contrastive(
    positive: Tensor, negative: Tensor, log_z: Tensor, num_data: int, counts: Tensor | None = None
) -> Tensor:
    r"""Noise-contrastive estimation: is a pair real, or one of K drawn uniformly from N samples? Mean over elements.

    .. math::
        L = - \frac{1}{B} \sum_i \Big( \log h(s_i) + \sum_k \log (1 - h(s_{ik})) \Big), \qquad
        h(s) = \frac{e^s / Z}{e^s / Z + K / N} = \sigma(s - \log Z - \log (K / N))

    Gutmann & Hyvarinen, AISTATS 2010, as used by Tian et al., "Contrastive Representation Distillation", ICLR 2020.
    Never zero: the noise is as likely as anything else.

    Args:
        positive: [B] scores (similarity / tau) of real pairs.
        negative: [B, K] scores of drawn ones.
        log_z: [] logarithm of the partition constant Z.
        num_data: N.
        counts: [B, K] bool, negatives that count; K is then their number in each row. Default: all.

    Differences: computed as a logistic loss, which leaves no quotient to guard by a small constant.
    """
    _check(positive, negative, counts)
    if counts is None:
        counts = torch.ones_like(negative, dtype=torch.bool)
    shift = log_z + (counts.sum(1).clamp(min=1) / num_data).to(positive.dtype).log()
    real = F.logsigmoid(positive - shift)
    drawn = F.logsigmoid(shift[:, None] - negative).masked_fill(~counts, 0).sum(1)
    return -(real + drawn).sum() / max(positive.numel(), 1)


def _check(positive: Tensor, negative: Tensor, counts: Tensor | None) -> None:
    fits = positive.dim() == 1 and negative.dim() == 2 and positive.size(0) == negative.size(0)
    if not fits or (counts is not None and counts.shape != negative.shape):
        raise DataError(
            f"Positives have shape {tuple(positive.shape)}, negatives {tuple(negative.shape)}"
            f"{'' if counts is None else f', counts {tuple(counts.shape)}'}; expected [B], [B, K] (and [B, K])."
        )
