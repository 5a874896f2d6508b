"""HKD: what a sample is and what its neighbours are, contrasted together."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from structkd.distillers.base import Distiller
from structkd.distillers.checks import positive
from structkd.distillers.connectors import UnitConnector
from structkd.distillers.features.samples import paired_samples
from structkd.distillers.memory_bank import MemoryBank
from structkd.distillers.rows import distilled_pair
from structkd.errors import ConfigError
from structkd.losses.contrastive import sampled_info_nce
from structkd.ops.csr import csr_of
from structkd.ops.knn import knn
from structkd.ops.precision import inner_products
from structkd.ops.spmm import spmm
from structkd.structure import Structure


class HKD(Distiller):
    r"""Holistic knowledge distillation: individual and relational knowledge through one-hop graph encoders.

    Zhou et al., "Distilling Holistic Knowledge with Graph Neural Networks", ICCV 2021:

    .. math::
        L = \sum_{(a, b) \in \{(s, t), (t, s)\}} NCE(e_a, m_b) + NCE(g_a, \tilde m_b), \qquad
        g[i] = norm\Big(W \big[e[i],\ \tfrac{1}{k} \sum_{j \in N(i)} e[j]\big] + c\Big)

    where e are learned linear embeddings of length 1, N(i) the k samples of the batch whose class distributions are
    nearest by cosine (i among them; each side has its own graph), m_b what the other side's memory holds of the sample,
    and m~_b that, moved towards the other side's g of this pass. Negatives are K samples drawn from the other side's
    memory; NCE is InfoNCE at temperature tau (`structkd.losses.sampled_info_nce`).

    Args:
        student_channels, teacher_channels: C of the field on either side.
        num_data: ids of samples: `n_id` (or `image_id` beside elements) runs from 0 to num_data - 1. Those that
            training never shows are no negatives.
        field: a vector a sample [B, C], or a map [B, C, H, W], whose mean over cells is taken.
        channels: length of an embedding.
        neighbors: k, the sample itself counted; a smaller batch is wholly connected.
        negatives: K, drawn for a batch.
        tau: temperature.
        momentum: share of the old vector that a memory's update keeps.
        smoothing: share of the memory in m~.
        seed: of the memories' first vectors and of the draws.

    Reads `field` and `logits` [B, K] of both sides and the student's `n_id` [B]; where it has `y` [B], samples of the
    same class are no negatives of each other. Returns `individual` (e) and `relational` (g), never zero. Published
    weight: 3. Embeddings and encoders are learned; the memories (`MemoryBank`) follow e.

    Differences: in the authors' code a side's negatives come from its own memory, its positive from the other side's;
    here both from the other's, as the contrast is described. A batch of fewer than k samples has no relational term and
    updates no memory there. One draw of negatives serves the whole batch. Where several processes train, the graph is
    that of a process' part of the batch; the memories are shared.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        num_data: int,
        field: str = "embedding",
        channels: int = 128,
        neighbors: int = 8,
        negatives: int = 16384,
        tau: float = 0.07,
        momentum: float = 0.9,
        smoothing: float = 0.75,
        seed: int = 0,
    ) -> None:
        super().__init__()
        positive("HKD", tau=tau, neighbors=neighbors)
        if not 0 <= smoothing <= 1:
            raise ConfigError(f"HKD(smoothing={smoothing}): expected 0 to 1, the memory's share.")
        self.field, self.reads, self.reads_student = field, frozenset({field, "logits"}), frozenset({"n_id"})
        self.neighbors, self.tau, self.smoothing = neighbors, tau, smoothing
        self.embed_student = UnitConnector(student_channels, channels)
        self.embed_teacher = UnitConnector(teacher_channels, channels, side="teacher")
        self.encode_student = GraphEncoder(channels)
        self.encode_teacher = GraphEncoder(channels)
        self.memory = MemoryBank("HKD", num_data, channels, negatives, momentum, seed)

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        student, teacher = distilled_pair(student, teacher)
        f_s, f_t = paired_samples(student, teacher, self.field, "HKD")
        n_id, y = self.memory.ids(student, f_s.size(0)), student.get("y")
        e_s, e_t = self.embed_student(f_s), self.embed_teacher(f_t)
        g_s = self.encode_student(e_s, nearest_predictions(student.logits, self.neighbors))
        g_t = self.encode_teacher(e_t, nearest_predictions(teacher.logits, self.neighbors))
        rows, counts = self.memory.draw(n_id, y)
        individual = relational = e_s.new_zeros(())
        for e, g, bank, other in (
            (e_s, g_s, self.memory.teacher.to(e_s), g_t),
            (e_t, g_t, self.memory.student.to(e_t), g_s),
        ):
            own, drawn = bank[n_id], bank[rows]
            smooth = F.normalize(torch.lerp(other.detach(), own, self.smoothing), dim=1)
            individual = individual + sampled_info_nce((e * own).sum(1), inner_products(e, drawn), self.tau, counts)
            relational = relational + sampled_info_nce((g * smooth).sum(1), inner_products(g, drawn), self.tau, counts)
        if self.training:
            self.memory.update(n_id, e_s, e_t, y)
        return {"individual": individual, "relational": relational}


class GraphEncoder(nn.Module):
    """One hop: a linear map of a node's embedding beside the mean of its neighbours', to length 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = UnitConnector(2 * channels, channels)

    def forward(self, e: Tensor, edge_index: Tensor) -> Tensor:
        """[B, C] embeddings and [2, B k] edges, as many into each node."""
        size = max(edge_index.size(1) // max(e.size(0), 1), 1)
        around = spmm(csr_of(edge_index, e.size(0)), e) / size
        return self.linear(torch.cat([e, around], 1).to(self.linear.weight.dtype))


def nearest_predictions(logits: Tensor, k: int) -> Tensor:
    """Edges [2, B min(k, B)] to each sample from those with the nearest class distributions (cosine), itself too."""
    index, _ = knn(logits.detach().float().softmax(1), k, metric="cosine", loop=True)
    return index.flip(0)
