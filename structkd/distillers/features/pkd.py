"""PKD: a student's features correlate with the teacher's, whatever their magnitude."""

from __future__ import annotations

from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.connectors import connector
from structkd.distillers.features.pairs import paired_features
from structkd.losses.correlation import correlation_loss
from structkd.structure import Structure


class PKD(Distiller):
    r"""Squared distance of standardised features, which is one minus their Pearson correlation.

    Cao et al., "PKD: General Distillation Framework for Object Detectors via Pearson Correlation Coefficient",
    NeurIPS 2022:

    .. math:: L = \frac{1}{2 M C} \sum_c \sum_i (\hat f_s[i, c] - \hat f_t[i, c])^2 = \frac{1}{C} \sum_c (1 - r_c)

    over all M elements (cells of maps, pillars, points) of the batch; see `structkd.losses.correlation_loss`.

    Args:
        student_channels, teacher_channels: C of the field on either side; a learned linear map takes the student's to
            the teacher's where they differ.
        field: what is compared, a map [B, C, H, W] or rows [N, C] with `batch`.

    Reads `field` of both sides; teacher maps of another size are resized to the student's. Returns `correlation`,
    zero when the sides are equal (up to a shift and a positive factor a channel) and the map, if any, is the identity.
    Means and deviations are the batch's, as published: the loss of a scene depends on the others beside it.
    """

    def __init__(self, student_channels: int, teacher_channels: int, field: str = "neck") -> None:
        super().__init__()
        self.field, self.reads = field, frozenset({field})
        self.connector = connector(student_channels, teacher_channels)

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        f_s, f_t, _ = paired_features(student, teacher, self.field, "PKD")
        return {"correlation": correlation_loss(self.connector(f_s), f_t)}
