"""HGMD: hard nodes learn from larger neighbourhoods of easy ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import one_of, positive
from structkd.distillers.graphs.neighbors import (
    edge_chunks,
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
            share = chance * torch.distributions.Beta(self.beta, self.beta).sample(chance.shape).to(chance)
            own, rows = own_divergence(student, teacher, self.tau)
            total = own + mixed_kl(student.logits, labels, edge_index, share, weight, self.tau)
        else:
            total, rows = self._weighted(student, teacher, labels, edge_index, weight, alike * chance)
        return {"subgraph_label": total / (weight.sum() + rows).clamp(min=1)}
