"""Soft codebook assignments and their divergence (VQGraph)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from structkd.errors import ConfigError, DataError
from structkd.losses.logits import kl_divergence


def token_similarity(x: Tensor, codebook: Tensor, metric: str = "cosine") -> Tensor:
    """How close every element is to every code: the logits of its soft token assignment.

    Args:
        x: [N, C] features.
        codebook: [K, C] codes.
        metric: "cosine" (in [-1, 1]; a zero vector is similar to nothing, 0) or "euclidean", the negative distance
            (at most 0).

    Returns:
        [N, K], larger is closer.

    Raises:
        DataError: features and codes differ in width.
        ConfigError: unknown metric.
    """
    if x.size(-1) != codebook.size(-1):
        raise DataError(f"Features have {x.size(-1)} channels, codes {codebook.size(-1)}; expected as many.")
    if metric == "cosine":
        return F.normalize(x, dim=-1) @ F.normalize(codebook, dim=-1).t()
    if metric == "euclidean":
        return -torch.cdist(x, codebook)
    raise ConfigError(f"metric is '{metric}'; expected 'cosine' or 'euclidean'.")


def token_kl(token_logits_s: Tensor, token_logits_t: Tensor, tau: float = 4.0) -> Tensor:
    r"""Divergence of the student's soft token assignment from the teacher's.

    .. math:: L = \frac{\tau^2}{N} \sum_i KL(softmax(s_t[i] / \tau) \,\|\, softmax(s_s[i] / \tau))

    Yang et al., "VQGraph: Rethinking Graph Representation Space for Bridging GNNs and MLPs", ICLR 2024. Zero when
    both sides assign alike.

    Args:
        token_logits_s, token_logits_t: [N, K] similarities to the codes, made by the same `token_similarity`.
        tau: temperature of both sides.

    Differences: the authors' code hands a probability to a divergence that expects its logarithm, which pulls the
    student towards the uniform assignment with a gradient about K times too large, and scores the student by
    negative distance but the teacher by cosine, so that their divergence has no zero. Here both sides are scored
    alike and the target is what the equation says.
    """
    return kl_divergence(token_logits_s, token_logits_t, tau, scale_tau2=True)
