"""Losses between neighbours: a node learns its neighbours' teacher outputs, an edge the teacher's change along it.

The low-frequency loss needs no edges in training. With p_j the teacher's distribution and N(i) the sources of the
edges into i and i itself,

    sum_i sum_{j in N(i)} KL(p_j || q_i) = sum_i (sum_j <p_j, log p_j>) - <sum_j p_j, log q_i>,

so one sparse product, made once, leaves a cross entropy per node.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from structkd.errors import ConfigError, DataError
from structkd.ops.csr import csr_of
from structkd.ops.edge_kl import edge_difference_kl
from structkd.ops.spmm import spmm


class NeighborTargets(NamedTuple):
    """What a node is to learn of its neighbourhood, one row a node.

    Attributes:
        target: [N, C] weighted sum of the teacher's distributions in the neighbourhood.
        offset: [N] the same sum of their negative entropies, which makes the loss a divergence.
    """

    target: Tensor
    offset: Tensor

    def rows(self, index: Tensor) -> NeighborTargets:
        """The targets of some nodes, by position or bool mask."""
        return NeighborTargets(self.target[index], self.offset[index])


def neighbor_targets(p_t: Tensor, edge_index: Tensor, reduction: str = "edge") -> NeighborTargets:
    """Gather what the low-frequency loss needs of the teacher; O(E C) time, O(N C) memory, once before training.

    Args:
        p_t: [N, C] the teacher's class probabilities.
        edge_index: [2, E] source -> target without loops; each node's own distribution is added to its neighbours'.
        reduction: "edge" weighs all E + N terms alike, as published, so that a node counts by its degree;
            "node" takes the mean within a neighbourhood first, so that all nodes count alike.

    Returns:
        `NeighborTargets` scaled such that the mean of `low_frequency` over all N rows is the whole loss. The mean
        over nodes drawn uniformly is then an unbiased estimate.
    """
    if reduction not in ("edge", "node"):
        raise ConfigError(f"reduction is '{reduction}'; expected 'edge' or 'node'.")
    csr = csr_of(edge_index, p_t.size(0))
    terms = torch.cat([p_t, negative_entropy(p_t)], dim=1)
    terms = spmm(csr, terms) + terms
    if reduction == "edge":
        terms = terms * (p_t.size(0) / max(csr.num_edges + p_t.size(0), 1))
    else:
        terms = terms / (csr.degree() + 1).unsqueeze(1)
    return NeighborTargets(terms[:, :-1].contiguous(), terms[:, -1].contiguous())


def low_frequency(z_s: Tensor, targets: NeighborTargets) -> Tensor:
    r"""FF-G2M's low-frequency loss: every node learns the teacher's outputs in its neighbourhood.

    .. math:: L = \frac{1}{E + N} \sum_i \sum_{j \in N(i) \cup \{i\}} KL(p_t[j] \,\|\, p_s[i])

    (for `neighbor_targets(..., reduction="edge")`). Wu et al., "Extracting Low-/High-Frequency Knowledge from Graph
    Neural Networks and Injecting it into MLPs", AAAI 2023. Its minimum, at the mean of the neighbours'
    distributions, is how much they disagree: zero only where all are equal.

    Args:
        z_s: [B, C] the student's logits of some nodes (temperature 1).
        targets: the same rows of `neighbor_targets`.

    Returns:
        A scalar, the mean over rows; 0 without rows.
    """
    target, offset = targets
    if z_s.shape != target.shape:
        raise DataError(f"Student logits have shape {tuple(z_s.shape)}, targets {tuple(target.shape)}; expected one.")
    rows = offset - (target * F.log_softmax(z_s, dim=-1)).sum(-1)
    return rows.sum() / max(rows.numel(), 1)


def low_frequency_edges(z_s: Tensor, p_t: Tensor, edge_index: Tensor) -> Tensor:
    """The low-frequency loss ("edge" reduction) as published, through tensors of shape [E + N, C].

    Same value and gradient as `low_frequency`; kept to test and to measure it against.
    """
    own = torch.arange(z_s.size(0), device=z_s.device)
    source, target = torch.cat([edge_index, own.expand(2, -1)], dim=1)
    return F.kl_div(F.log_softmax(z_s, dim=-1)[target], p_t[source], reduction="batchmean")


def high_frequency(
    z_s: Tensor, z_t: Tensor, edge_index: Tensor, tau: float = 1.0, edge_scale: Tensor | None = None
) -> Tensor:
    r"""FF-G2M's high-frequency loss: the student's logits change along an edge as the teacher's do.

    .. math:: L = \frac{1}{E} \sum_{(i, j)} KL(q^t_{ij} \,\|\, q^s_{ij}), \quad
              q_{ij} = softmax(|z[i] - z[j]| / \tau)

    Source as `low_frequency`. Zero when the sides are equal. Computed by `structkd.ops.edge_kl`, which holds no
    [E, C] and visits an undirected edge once.

    Args:
        z_s, z_t: [N, C] logits of student and teacher.
        edge_index: [2, E] edges; loops add zero (but count in the default scale).
        tau: temperature; the loss is not multiplied by tau^2, as published.
        edge_scale: [E] weights in place of 1 / E, for edge mini-batches.
    """
    return edge_difference_kl(z_s, z_t, edge_index, tau, edge_scale)


def edge_kl(z_s: Tensor, p_t: Tensor, edge_index: Tensor, tau: float = 1.0, weight: Tensor | None = None) -> Tensor:
    r"""Weighted sum over edges of the divergence of the target node's student from the source node's teacher.

    .. math:: L = \sum_{e = (j \to i)} w_e \, KL(p_t[j] \,\|\, softmax(z_s[i] / \tau))

    The edge-wise term of KRD (Wu et al., "Quantifying the Knowledge in GNNs for Reliable Distillation into MLPs",
    ICML 2023) and its successors, through one sparse product instead of tensors of shape [E, C]. Edges that a
    method samples can keep their place in `edge_index` with weight 0 for those not drawn: its compressed form is then
    built once.

    Args:
        z_s: [N, C] student logits.
        p_t: [N, C] teacher probabilities, at whatever temperature the method gives them.
        edge_index: [2, E] source (teacher) -> target (student); add loops where the method has them.
        tau: temperature of the student.
        weight: [E] weights, differentiable. Default: 1 / E, the mean over edges.
    """
    csr = csr_of(edge_index, z_s.size(0))
    terms = spmm(csr, torch.cat([p_t, negative_entropy(p_t)], dim=1), weight)
    total = terms[:, -1].sum() - (terms[:, :-1] * F.log_softmax(z_s / tau, dim=-1)).sum()
    return total if weight is not None else total / max(csr.num_edges, 1)


def negative_entropy(p: Tensor) -> Tensor:
    """[N, 1] sum over classes of p log p, with 0 log 0 = 0."""
    return torch.special.xlogy(p, p).sum(-1, keepdim=True)
