"""Distillation of the order in which a teacher ranks the candidates of an anchor (LLP)."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.errors import DataError
from structkd.losses.logits import kl_divergence
from structkd.ops.known_gradient import with_gradient

#: Candidate pairs held at once, per intermediate.
PAIRS = 1 << 20


def context_distribution(scores_s: Tensor, scores_t: Tensor, tau: float = 1.0) -> Tensor:
    r"""LLP's distribution-based matching: the student spreads its scores over a context as the teacher does.

    .. math:: L_D = \frac{1}{M} \sum_a KL(softmax(r_t[a] / \tau) \,\|\, softmax(r_s[a] / \tau))

    Guo et al., "Linkless Link Prediction via Relational Distillation", ICML 2023. Zero when the scores are equal.

    Args:
        scores_s, scores_t: [M, L] scores of the L candidates of each of M anchors.
        tau: temperature; 1 in the authors' code, whose scores are sigmoid outputs, which makes both distributions
            nearly uniform. Lower it, or give logits, for a sharper target.
    """
    return kl_divergence(scores_s, scores_t, tau)


def context_ranking(scores_s: Tensor, scores_t: Tensor, margin: float = 0.1) -> Tensor:
    r"""LLP's rank-based matching: candidates the teacher tells apart by the margin, the student tells apart too.

    .. math:: L_R = \frac{1}{M P} \sum_a \sum_{k < l} \max(0, \delta - r_{kl} (s_k - s_l)), \quad
              r_{kl} = \begin{cases} 1 & t_k - t_l > \delta \\ -1 & t_k - t_l < -\delta \\ 0 & else \end{cases}

    over the pairs with r != 0, where P = L (L - 1) / 2 counts all pairs. Source as `context_distribution`. Zero when
    the scores are equal. The gradient is added up pair by pair in forward, a few anchors at a time, so memory does not
    grow with M L^2.

    Args:
        scores_s, scores_t: [M, L] scores of the L candidates of each of M anchors. Only `scores_s` gets a gradient.
        margin: delta, in units of the scores; not negative.

    Differences: in the authors' code pairs with r = 0 add the constant delta; leaving it out changes no gradient
    and lets equal scores give zero.
    """
    if scores_s.dim() != 2 or scores_s.shape != scores_t.shape:
        raise DataError(
            f"Student scores have shape {tuple(scores_s.shape)}, teacher scores {tuple(scores_t.shape)}; expected one "
            "shape [M, L]."
        )
    anchors, length = scores_s.shape
    pairs = max(anchors * length * (length - 1) // 2, 1)
    with torch.no_grad():
        losses = [scores_s.new_zeros(())]
        gradient = torch.empty_like(scores_s)
        size = max(1, PAIRS // max(length * length, 1))
        for start in range(0, anchors, size):
            s, t = scores_s[start : start + size], scores_t[start : start + size]
            # Each unordered pair is met once, in the order the teacher ranks it: k before l.
            ranked = t.unsqueeze(2) - t.unsqueeze(1) > margin
            shortfall = (margin - (s.unsqueeze(2) - s.unsqueeze(1))).clamp_(min=0).mul_(ranked)
            losses.append(shortfall.sum())
            wrong = (shortfall > 0).to(s.dtype)
            gradient[start : start + size] = wrong.sum(1) - wrong.sum(2)
        value = torch.stack(losses).sum() / pairs
    return with_gradient(value, scores_s, gradient.div_(pairs))
