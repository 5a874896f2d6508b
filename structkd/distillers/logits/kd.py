"""KD: a student learns a teacher's softened class distribution."""

from __future__ import annotations

from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import positive
from structkd.distillers.rows import distilled_rows
from structkd.distillers.sample_ids import check_same_samples
from structkd.losses.logits import kl_divergence
from structkd.structure import Structure


class KD(Distiller):
    r"""Knowledge distillation.

    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015:

    .. math:: L = \frac{T^2}{B} \sum_b KL(softmax(z_t[b] / T) \,\|\, softmax(z_s[b] / T))

    Args:
        tau: temperature T of both sides; 4 in the shared CIFAR-100 protocol, whose weights are .9 for this loss and .1
            for the labels (RepDistiller).

    Reads `logits` [B, K] of both sides. Returns `soft_label`, zero when the distributions are equal.

    Differences: none of substance; the paper's cross entropy differs by the teacher's entropy, a constant.
    """

    def __init__(self, tau: float = 4.0) -> None:
        super().__init__()
        positive("KD", tau=tau)
        self.tau = tau

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        check_same_samples(student, teacher, len(student.logits), "KD", "their logits")
        z_s, z_t = distilled_rows(student, student.logits, teacher.logits)
        return {"soft_label": kl_divergence(z_s, z_t, self.tau, scale_tau2=True)}
