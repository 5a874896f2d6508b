"""SRRL: a student's features, put before the teacher's classifier, give the teacher's scores."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import not_negative
from structkd.distillers.connectors import NormalizedConnector
from structkd.distillers.features.samples import paired_samples
from structkd.distillers.rows import distilled_pair
from structkd.errors import DataError
from structkd.losses.features import feature_loss
from structkd.structure import Structure


class SRRL(Distiller):
    r"""Softmax regression representation learning.

    Yang et al., "Knowledge distillation via softmax regression representation learning", ICLR 2021:

    .. math::
        L = w_f \frac{1}{B C} \sum_b \| \bar h_s[b] - \bar f_t[b] \|^2
          + w_r \frac{1}{B K} \sum_b \| W_t \bar h_s[b] + a_t - z_t[b] \|^2, \qquad
        h_s = ReLU(BN(r(f_s)))

    where the bar is the mean over the cells of a map, r a learned linear map to the teacher's channels, and W_t, a_t
    the teacher's frozen classifier.

    Args:
        student_channels, teacher_channels: C of the field on either side.
        field: the last map [B, C, H, W] before the classifier's pooling (published), or its mean [B, C].
        feature_weight, regression_weight: weight of each term; 0 leaves it out. Published: 1 and 1.

    Reads `field` of both sides and of the teacher `logits` [B, K], `classifier_weight` [K, C] and, where there is one,
    `classifier_bias` [K]: the parameters of its last linear layer, which an adapter hands out beside the features.
    Returns `feature` and `regression`, zero when h_s is the teacher's map.

    Differences: squared error of the scores, as in the authors' code (the paper's text was not read). Vectors [B, C] go
    through the same layers as the map's cells would, which is another function than the mean of those (ReLU does not
    commute with it).
    """

    reads_teacher = frozenset({"logits", "classifier_weight"})

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        field: str = "neck",
        feature_weight: float = 1.0,
        regression_weight: float = 1.0,
    ) -> None:
        super().__init__()
        not_negative("SRRL", feature_weight=feature_weight, regression_weight=regression_weight)
        self.field, self.reads = field, frozenset({field})
        self.feature_weight, self.regression_weight = feature_weight, regression_weight
        self.connector = NormalizedConnector(student_channels, teacher_channels)

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        weight, bias = teacher.classifier_weight, teacher.get("classifier_bias")
        student, teacher = distilled_pair(student, teacher)
        f_s, f_t = paired_samples(student, teacher, self.field, "SRRL", pooled=False)
        h_s = F.relu(self.connector(f_s))
        h_s, f_t = (f.flatten(2).mean(2) if f.dim() == 4 else f for f in (h_s, f_t))
        losses = {}
        if self.feature_weight:
            losses["feature"] = self.feature_weight * feature_loss(h_s, f_t)
        if self.regression_weight:
            if weight.dim() != 2 or weight.size(1) != h_s.size(1):
                raise DataError(
                    f"SRRL: classifier_weight has shape {tuple(weight.shape)}; expected [K, {h_s.size(1)}], the "
                    f"teacher's last linear layer on the {h_s.size(1)} channels of {self.field}."
                )
            z = F.linear(h_s, weight, bias)
            losses["regression"] = self.regression_weight * feature_loss(z, teacher.logits)
        return losses
