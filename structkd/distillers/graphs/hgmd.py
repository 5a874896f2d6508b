"""HGMD: hard nodes learn from larger neighbourhoods of easy ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import one_of, positive
from structkd.distillers.graphs.neighbors import (
    edge_slice,
    entropy,
    neighbor_edges,
    own_divergence,
    with_edge_count,
)
from structkd.losses.smoothness import edge_kl
from structkd.ops.csr import csr_of
from structkd.ops.segment import segment_sum
from structkd.ops.spmm import edge_dot, spmm
from structkd.structure import Structure

SCHEMES = ("mixup", "weight")


class HGMD(Distiller):
    r"""Soft labels over subgraphs drawn by hardness, either mixed with the node's own label or weighted.

    Wu et al., "Teach Harder, Learn Poorer: Rethinking Hard Sample Distillation for GNN-to-MLP Knowledge
    Distillation", CIKM 2024.

    .. math::
        \kappa_{ij} = 1 - \exp\big(-\alpha_e \cos(p_t[i], p_t[j]) \sqrt{H_t[i] H_s[i]} / H_t[j]\big)

    is the chance that node i learns from its neighbour j (edge j -> i): high where i is hard (uncertain teacher,
    uncertain student) and j is easy and alike. H is the entropy divided by the largest of all nodes. alpha falls
    from `alpha` to a hundredth of it over training. Over the drawn edges S and all rows' own labels,

    * "mixup": the mean of KL((1 - w) p_t[i] + w p_t[j] || p_s[i]) with w = kappa_ij b, b ~ Beta(beta, beta);
    * "weight": the mean of d_i r_ij KL(p_t[j] || p_s[i]), where r_ij = cos kappa / (their sum over i's drawn edges,
      i's own label counting 1) and d_i is how many those are, own label included: a node keeps its total weight.

    Args:
        scheme: "mixup" (the stronger one in the paper's abstract) or "weight".
        tau: temperature of both sides; .8 to 1.2 in the published settings; no factor tau^2. Entropies and cosines
            are those of temperature 1.
        alpha: scale of the chance to draw an edge, at the start; 5 or 10 in the published settings.
        beta: both parameters of the Beta distribution ("mixup"); .3 to .5 in the published settings.

    Reads `logits` [N, C] of both sides and `edge_index` of either (source teaches target). The student's entropies
    are constants. `set_progress` moves alpha. Returns `subgraph_label`; equal sides give zero only where neighbours'
    labels are equal too.

    Differences: the authors take the student's entropies from an evaluation pass after the last epoch (and keep every
    edge in the first); ours are those of the pass at hand. Theirs smooths mixed targets by 1e-6 on some data sets
    against log 0, which our form does not meet. In a mini-batch H_s is divided by the batch's largest, H_t by that of
    the whole teacher structure once `prepare` has seen it.
    """

    def __init__(self, scheme: str = "mixup", tau: float = 1.0, alpha: float = 5.0, beta: float = 0.5) -> None:
        super().__init__()
        one_of("HGMD", "scheme", scheme, SCHEMES)
        positive("HGMD", tau=tau, alpha=alpha, beta=beta)
        self.scheme, self.tau, self.beta = scheme, tau, beta
        self.start_alpha = self.alpha = alpha

    def prepare(self, teacher: Structure) -> Structure:
        with_edge_count(teacher)
        teacher["hardness"] = hardness(teacher.logits)
        return teacher

    def set_progress(self, epoch: int, max_epochs: int) -> None:
        self.alpha = self.start_alpha / 100 ** (epoch / max(max_epochs - 1, 1))

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        edge_index, weight = neighbor_edges(student, teacher, "HGMD")
        alike, chance = self._chance(student, teacher, edge_index)
        weight = weight * torch.bernoulli(chance)
        labels = torch.softmax(teacher.logits / self.tau, dim=-1)
        if self.scheme == "mixup":
            beta = chance.new_tensor(self.beta)
            share = chance * torch.distributions.Beta(beta, beta).sample(chance.shape)
            own, rows = own_divergence(student, teacher, self.tau)
            total = own + mixed_kl(student.logits, labels, edge_index, share, weight, self.tau)
        else:
            node, edge = balanced(edge_index[1], alike * chance, weight, labels.size(0))
            own, rows = own_divergence(student, teacher, self.tau, node)
            total = own + edge_kl(student.logits, labels, edge_index, self.tau, edge)
        return {"subgraph_label": total / (weight.sum() + rows).clamp(min=1)}

    @torch.no_grad()
    def _chance(self, student: Structure, teacher: Structure, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """For each edge, how alike its ends' teacher labels are (cosine) and the chance that it is drawn."""
        source, target = edge_index
        labels = F.normalize(torch.softmax(teacher.logits, dim=-1), dim=-1)
        alike = edge_dot(csr_of(edge_index, labels.size(0)), labels, labels).clamp(0, 1)
        h_t = teacher.get("hardness")
        h_t = hardness(teacher.logits) if h_t is None else h_t
        h_s = hardness(student.logits)
        exponent = alike * (h_t[target] * h_s[target].to(h_t)).sqrt() / h_t[source]
        return alike, -torch.expm1(-self.alpha * exponent)


@torch.no_grad()
def hardness(logits: Tensor) -> Tensor:
    """Entropy of each row's distribution as a share of the largest one, at least 1e-8: [N, C] -> [N]."""
    h = entropy(torch.softmax(logits, dim=-1))
    return (h / h.max().clamp(min=torch.finfo(h.dtype).tiny) if h.numel() else h).clamp(min=1e-8)


def balanced(target: Tensor, score: Tensor, weight: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Weights proportional to `score` that keep each node's total at the number of its edges and itself.

    Args:
        target: [E] node each edge ends in.
        score: [E] score of each edge; a node's own label scores 1.
        weight: [E] how many edges each one stands for, 0 for none.

    Returns:
        ([N] weight of each node's own label, [E] weight of each edge).
    """
    count = 1 + segment_sum(weight, target, num_nodes)
    node = count / (1 + segment_sum(weight * score, target, num_nodes))
    return node, weight * score * node[target]


def mixed_kl(z_s: Tensor, labels: Tensor, edge_index: Tensor, share: Tensor, weight: Tensor, tau: float) -> Tensor:
    r"""Sum over edges j -> i of weight * KL(q || p_s[i]) with q = (1 - share) labels[i] + share labels[j].

    The part that learns is a row's own cross entropy with the sum of its targets, one sparse product; the targets'
    own entropy is a constant, taken over slices of the edges. Nothing of size [E, C] is held.

    Args:
        z_s: [N, C] student logits, divided by `tau` here.
        labels: [N, C] teacher probabilities.
        share, weight: [E] constants.
    """
    csr = csr_of(edge_index, labels.size(0))
    kept = segment_sum(weight * (1 - share), edge_index[1], labels.size(0))
    targets = spmm(csr, labels, weight * share) + kept[:, None] * labels
    constant = z_s.new_zeros(())
    drawn = weight.nonzero().flatten()
    for part in drawn.split(edge_slice(labels.size(1))):
        source, target = edge_index[:, part]
        constant = constant - weight[part] @ entropy(torch.lerp(labels[target], labels[source], share[part, None]))
    return constant - (targets * F.log_softmax(z_s / tau, dim=-1)).sum()
