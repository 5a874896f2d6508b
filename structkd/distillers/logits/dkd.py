"""DKD: the label's share of the teacher's distribution and the rest of it, weighted apart."""

from __future__ import annotations

from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import not_negative, positive
from structkd.distillers.rows import distilled_rows
from structkd.distillers.sample_ids import check_same_samples
from structkd.distillers.warm_up import warm_up
from structkd.losses.decoupled import decoupled_kl
from structkd.structure import Structure


class DKD(Distiller):
    r"""Decoupled knowledge distillation.

    Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022:

    .. math::
        L = \frac{T^2}{B} \sum_b \alpha \, KL(b_t \| b_s) + \beta \, KL(q_t \| q_s)

    with b = (p[y], 1 - p[y]) and q the distribution over the other classes; see `structkd.losses.decoupled_kl`. Plain
    distillation is alpha = 1 with 1 - p_t[y] in the place of beta, which mutes q where the teacher is sure.

    Args:
        alpha, beta: weights of the two parts; 0 leaves one out. 1 and 8 are the published code's defaults on CIFAR-100,
            where beta is chosen by the pair of networks.
        tau: temperature T of both sides.
        warm_up: epochs over which the loss rises to its full weight; `set_progress` tells the epoch.

    Reads `logits` [B, K] of both sides and the student's `y` [B] (int64; rows of a negative label take no part).
    Returns `target` and `others`, zero when the sides are equal up to a constant a row.

    Differences: the label's class is left out exactly, where the authors' code subtracts 1000 from its logit.
    """

    reads_student = frozenset({"y"})

    def __init__(self, alpha: float = 1.0, beta: float = 8.0, tau: float = 4.0, warm_up: int = 20) -> None:
        super().__init__()
        positive("DKD", tau=tau)
        not_negative("DKD", alpha=alpha, beta=beta, warm_up=warm_up)
        self.alpha, self.beta, self.tau, self.warm_up = alpha, beta, tau, warm_up
        self.share = 1.0

    def set_progress(self, epoch: int, max_epochs: int) -> None:
        self.share = warm_up(epoch, self.warm_up)

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        check_same_samples(student, teacher, len(student.logits), "DKD", "their logits")
        z_s, z_t, y = distilled_rows(student, student.logits, teacher.logits, student.y)
        labelled = y >= 0
        if not bool(labelled.all()):
            z_s, z_t, y = z_s[labelled], z_t[labelled], y[labelled]
        target, others = decoupled_kl(z_s, z_t, y, self.tau)
        scale = self.share * self.tau**2 / max(y.numel(), 1)
        parts = (("target", self.alpha, target), ("others", self.beta, others))
        return {name: weight * scale * rows.sum() for name, weight, rows in parts if weight}
