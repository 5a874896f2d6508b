"""Logit distillation of dense detection heads."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import not_negative, positive
from structkd.distillers.grids import resized
from structkd.distillers.points.objects import paired_boxes, paired_logits
from structkd.errors import ConfigError
from structkd.losses.logits import binary_kl_divergence
from structkd.losses.samples import sample_mean
from structkd.structure import Structure

#: Where the smooth L1 loss turns linear, as in the detectors' own box loss.
BETA = 1 / 9


class LogitKD(Distiller):
    r"""Soft class scores, and encoded boxes, where the teacher sees something.

    The plain adaptation of Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, to heads whose classes
    are independent yes-or-no scores:

    .. math::
        L = \frac{1}{B} \sum_b \frac{1}{|P_b|} \sum_{i \in P_b} \Big( w_{class} \tau^2 \sum_k
            KL\big(\sigma(z_t[i, k] / \tau) \,\|\, \sigma(z_s[i, k] / \tau)\big)
            + w_{box} \, smoothL1(d_s[i], d_t[i]) \Big)

    P_b are the anchors (or cells) of scene b where the teacher's best class scores above `threshold`; scenes without
    any do not count. On the background, thousands of anchors to one, teacher and student agree from the start.

    Args:
        tau: temperature of both sides.
        threshold: score (0 to 1, at temperature 1) above which an anchor takes part; 0 takes all.
        class_weight, box_weight: weight of each term; 0 leaves it out and with it what it reads.

    Reads `logits` [B, A, K, H, W] of both sides, the teacher's resized to the student's grid where they differ, and
    `box_map` [B, A, D, H, W] of both, on one grid (headings up to a half turn, as anchor heads are trained). Returns
    `score` and `box`, zero when the sides are equal.
    """

    def __init__(
        self, tau: float = 1.0, threshold: float = 0.1, class_weight: float = 1.0, box_weight: float = 1.0
    ) -> None:
        super().__init__()
        positive("LogitKD", tau=tau)
        not_negative("LogitKD", class_weight=class_weight, box_weight=box_weight)
        if not 0 <= threshold < 1:
            raise ConfigError(f"LogitKD(threshold={threshold}): expected a score from 0 to below 1.")
        self.tau, self.threshold = tau, threshold
        self.class_weight, self.box_weight = class_weight, box_weight
        self.reads = frozenset({"logits", "box_map"} if box_weight else {"logits"})

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        z_s, z_t = paired_logits(student, teacher, "LogitKD")
        z_t = resized(z_t, (z_s.size(3), z_s.size(4)))
        scene, anchor, row, column = (z_t.amax(2).sigmoid() > self.threshold).nonzero(as_tuple=True)
        losses = {}
        if self.class_weight:
            z_s, z_t = (z[scene, anchor, :, row, column] for z in (z_s, z_t))
            kl = self.tau**2 * binary_kl_divergence(z_s, z_t, self.tau).sum(1)
            losses["score"] = self.class_weight * sample_mean(kl, scene)
        if self.box_weight:
            d_s, d_t = paired_boxes(student, teacher, "LogitKD", (scene, anchor, row, column))
            error = F.smooth_l1_loss(d_s, d_t, beta=BETA, reduction="none").sum(1)
            losses["box"] = self.box_weight * sample_mean(error, scene)
        return losses
