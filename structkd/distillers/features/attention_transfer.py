"""Attention transfer: a student's features are strong where the teacher's are."""

from __future__ import annotations

from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.features.pairs import paired_features
from structkd.losses.attention import attention_transfer
from structkd.structure import Structure


class AttentionTransfer(Distiller):
    r"""Activation-based attention: normalised sums of squares over channels.

    Zagoruyko & Komodakis, "Paying More Attention to Attention: Improving the Performance of Convolutional Neural
    Networks via Attention Transfer", ICLR 2017, equation 2:

    .. math:: L = \frac{1}{B} \sum_b \left\| \frac{Q_s^b}{\|Q_s^b\|_2} - \frac{Q_t^b}{\|Q_t^b\|_2} \right\|_2^2,
              \qquad Q_i = \sum_c f[i, c]^2

    A sample's attention Q^b runs over the cells of its map, or over its elements where it is sparse (pillars, points).

    Args:
        field: what is compared, a map [B, C, H, W] or rows [N, C] with `batch`.

    Reads `field` of both sides, of any number of channels; teacher maps of another size are resized to the student's.
    Returns `attention`, zero when the sides are equal. Nothing is learned beside the student.

    Differences: squared norm instead of the norm, see `structkd.losses.attention_transfer`; one place a distiller
    instead of a sum over several (list the distiller once for each).
    """

    def __init__(self, field: str = "neck") -> None:
        super().__init__()
        self.field, self.reads = field, frozenset({field})

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        f_s, f_t, batch = paired_features(student, teacher, self.field, "AttentionTransfer")
        return {"attention": attention_transfer(f_s, f_t, batch)}
