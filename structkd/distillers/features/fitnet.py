"""FitNet: a student's features, through a learned map, become the teacher's."""

from __future__ import annotations

from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.connectors import Connector
from structkd.distillers.features.pairs import paired_features
from structkd.losses.features import feature_loss
from structkd.structure import Structure


class FitNet(Distiller):
    r"""Hint regression.

    Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, equation 3, with a mean in place of half the sum:

    .. math:: L = \frac{1}{B} \sum_b \frac{1}{N_b C} \sum_{i \in b} \| r(f_s[i]) - f_t[i] \|_2^2

    over the elements i of a sample b (cells of a map, pillars, points) and the teacher's C channels; r is a learned
    linear map from the student's channels to the teacher's.

    Args:
        student_channels, teacher_channels: C of the field on either side.
        field: what is compared, a map [B, C, H, W] or rows [N, C] with `batch`.

    Reads `field` of both sides; teacher maps of another size are resized to the student's. Returns `hint`, zero when
    the sides are equal and r is the identity.

    Differences: the paper's regressor on maps is a convolution large enough to make the sizes equal; ours is 1 x 1 (the
    common choice since) and interpolates. The paper trains up to the hint layer first and the whole student after;
    here the hint is a loss beside the others (schedule its weight, or use two stages, for the published order).
    """

    def __init__(self, student_channels: int, teacher_channels: int, field: str = "neck") -> None:
        super().__init__()
        self.field, self.reads = field, frozenset({field})
        self.connector = Connector(student_channels, teacher_channels)

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        f_s, f_t, batch = paired_features(student, teacher, self.field, "FitNet")
        return {"hint": feature_loss(self.connector(f_s), f_t, batch=batch)}
