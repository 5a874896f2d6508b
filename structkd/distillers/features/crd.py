"""CRD: a student's sample is told from all others by the teacher's view of it, and the other way round."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import positive
from structkd.distillers.connectors import UnitConnector
from structkd.distillers.features.samples import paired_samples
from structkd.distillers.gathering import gathered
from structkd.distillers.memory_bank import MemoryBank
from structkd.distillers.rows import distilled_pair
from structkd.losses.contrastive import noise_contrastive
from structkd.ops.precision import inner_products
from structkd.structure import Structure


class CRD(Distiller):
    r"""Contrastive representation distillation with a memory of all training samples.

    Tian et al., "Contrastive Representation Distillation", ICLR 2020, equation 18, in both directions:

    .. math::
        L = \sum_{(a, b) \in \{(s, t), (t, s)\}} - \frac{1}{B} \sum_i
            \Big( \log h(e_a[i], m_b[i]) + \sum_k \log(1 - h(e_a[i], m_b[k])) \Big), \qquad
        h(e, m) = \frac{e^{\langle e, m \rangle / \tau} / Z}{e^{\langle e, m \rangle / \tau} / Z + K / N}

    where e are learned linear embeddings of length 1, m_b[i] what the other side's memory holds of the same sample and
    m_b[k] of K drawn ones.

    Args:
        student_channels, teacher_channels: C of the field on either side.
        num_data: N, ids of samples: `n_id` (or `image_id` beside elements) runs from 0 to N - 1. Those that training
            never shows are no negatives.
        field: a vector a sample [B, C], or a map [B, C, H, W], whose mean over cells is taken.
        channels: length of an embedding.
        negatives: K. 16384 is published; memory and time grow with B K.
        tau: temperature.
        momentum: share of the old vector that a memory's update keeps.
        seed: of the memories' first vectors and of the draws.

    Reads `field` of both sides and the student's `n_id` [B]; where it has `y` [B], samples of the same class are no
    negatives of each other (published). Returns `contrast`, which is never zero. Published weight: .8. Both embeddings
    are learned.

    Buffers beside those of the memory (`MemoryBank`): `log_z` [2], the logarithms of the partition constants of the
    student's and the teacher's anchors: N times the mean of the exponentiated scores of the first training batch, and
    `frozen`, whether it has been. An evaluation pass neither draws anew nor writes.

    Differences: the authors' loader draws K negatives for each sample of a batch, from other classes; here one draw
    serves the whole batch (one product instead of B K gathered vectors) and each sample leaves out those of its class,
    as far as the memory has met them. A sample drawn as its own negative is left out too.
    """

    log_z: Tensor
    frozen: Tensor

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        num_data: int,
        field: str = "embedding",
        channels: int = 128,
        negatives: int = 16384,
        tau: float = 0.07,
        momentum: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        positive("CRD", tau=tau)
        self.field, self.reads, self.reads_student = field, frozenset({field}), frozenset({"n_id"})
        self.tau = tau
        self.embed_student = UnitConnector(student_channels, channels)
        self.embed_teacher = UnitConnector(teacher_channels, channels, side="teacher")
        self.memory = MemoryBank("CRD", num_data, channels, negatives, momentum, seed)
        self.register_buffer("log_z", torch.zeros(2))
        self.register_buffer("frozen", torch.tensor(False))

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        student, teacher = distilled_pair(student, teacher)
        f_s, f_t = paired_samples(student, teacher, self.field, "CRD")
        n_id, y = self.memory.ids(student, f_s.size(0)), student.get("y")
        e_s, e_t = self.embed_student(f_s), self.embed_teacher(f_t)
        rows, counts = self.memory.draw(n_id, y)
        scores = [
            ((e * bank[n_id]).sum(1) / self.tau, inner_products(e, bank[rows]) / self.tau)
            for e, bank in ((e_s, self.memory.teacher.to(e_s)), (e_t, self.memory.student.to(e_t)))
        ]
        log_z = self._partition(scores, counts)
        size = self.memory.label.numel()
        losses = [noise_contrastive(*pair, z, size, counts) for pair, z in zip(scores, log_z)]
        if self.training:
            self.memory.update(n_id, e_s, e_t, y)
        return {"contrast": losses[0] + losses[1]}

    @torch.no_grad()
    def _partition(self, scores: list[tuple[Tensor, Tensor]], counts: Tensor) -> Tensor:
        if bool(self.frozen):
            return self.log_z.clone()
        number = counts.sum() + counts.size(0)
        totals = []
        for positive_score, negative_score in scores:
            every = torch.cat([positive_score[:, None], negative_score.masked_fill(~counts, -math.inf)], 1)
            totals.append(every.flatten().logsumexp(0))
        total, number = torch.stack(totals)[None], number[None]
        if self.training:  # the first batch is that of all processes
            total, number = gathered(total), gathered(number)
        if not int(number.sum()):
            return self.log_z.clone()
        log_z = (total.logsumexp(0) + math.log(self.memory.label.numel() / int(number.sum()))).to(self.log_z)
        if self.training:
            self.log_z.copy_(log_z)
            self.frozen.fill_(True)
        return log_z
