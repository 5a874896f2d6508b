"""Losses that keep a router from sending everything to the same few experts."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def variation(amount: Tensor) -> Tensor:
    """Squared coefficient of variation (population variance / squared mean) of [E] amounts; 0 when all are equal."""
    mean = amount.mean()
    return (amount - mean).square().mean() / mean.square().clamp(min=torch.finfo(amount.dtype).tiny)


def importance_loss(probs: Tensor) -> Tensor:
    """Variation of the experts' summed probabilities.

    Shazeer et al., "Outrageously Large Neural Networks", ICLR 2017, equations 6 and 7, as Riquelme et al. (V-MoE,
    NeurIPS 2021, appendix A) have it.

    Args:
        probs: [N, E] softmax over all experts, without noise.
    """
    return variation(probs.sum(0)) if probs.numel() else probs.sum()


def load_loss(logits: Tensor, noisy: Tensor, k: int, std: float) -> Tensor:
    """Variation of the experts' smooth loads: how many tokens would choose them if their noise were drawn anew.

    The load of an expert is the sum over tokens of P(logit + noise >= threshold), with the token's k-th largest noisy
    logit as threshold (V-MoE, appendix A). Counts themselves have no gradient.

    Args:
        logits: [N, E] without noise.
        noisy: [N, E] the same with the noise that was drawn.
        k: experts a token is sent to.
        std: of the noise, above 0.
    """
    if not logits.numel():
        return logits.sum()
    threshold = noisy.topk(k, 1).values[:, -1:]
    return variation(torch.special.ndtr((logits - threshold) / std).sum(0))


def z_loss(logits: Tensor) -> Tensor:
    """Mean squared log-sum-exp of [N, E] logits: keeps them small (Zoph et al., "ST-MoE", 2022, equation 5)."""
    return logits.logsumexp(1).square().mean() if logits.numel() else logits.sum()


def mutual_information_loss(probs: Tensor) -> Tensor:
    """log E - I(token; expert), in nats: 0 where each token is sure of its expert and all experts are used equally.

    I = H(mean of the probabilities) - mean of their entropies, of tokens and experts as in Shen et al., "ModuleFormer",
    2023 (arXiv:2306.04640); Chen et al., "Mod-Squad", CVPR 2023, have the same of tasks and experts. It balances as
    `importance_loss` does, and asks for sharp decisions besides.

    Args:
        probs: [N, E] softmax over all experts, without noise.
    """
    if not probs.numel():
        return probs.sum()
    return math.log(probs.size(1)) - entropy(probs.mean(0)) + entropy(probs).mean()


def entropy(probs: Tensor) -> Tensor:
    """Entropy of the last dimension, in nats."""
    return -torch.xlogy(probs, probs.clamp(min=torch.finfo(probs.dtype).tiny)).sum(-1)
