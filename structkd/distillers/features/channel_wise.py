"""Channel-wise distillation: each channel is active where the teacher's is."""

from __future__ import annotations

from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import positive
from structkd.distillers.connectors import connector
from structkd.distillers.features.pairs import paired_features
from structkd.losses.channel_wise import channel_kl
from structkd.structure import Structure


class ChannelWise(Distiller):
    r"""Divergence of each channel's distribution over space (CWD).

    Shu et al., "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021:

    .. math::
        L = \frac{\tau^2}{B C} \sum_b \sum_c KL\big(\phi(f_t^b[:, c]) \,\|\, \phi(f_s^b[:, c])\big), \qquad
        \phi(a) = softmax_i(a_i / \tau)

    over the elements i of a sample b (cells of a map, pillars, points).

    Args:
        student_channels, teacher_channels: C of the field on either side; a learned linear map takes the student's to
            the teacher's where they differ.
        field: what is compared, a map [B, C, H, W] or rows [N, C] with `batch`; a head's scores
            [B, A, K, H, W] are a map of A K channels.
        tau: temperature of both sides.

    Reads `field` of both sides; teacher maps of another size are resized to the student's. Returns `channel`, zero
    when the sides are equal (up to a constant a channel) and the map, if any, is the identity.
    """

    def __init__(self, student_channels: int, teacher_channels: int, field: str = "neck", tau: float = 4.0) -> None:
        super().__init__()
        positive("ChannelWise", tau=tau)
        self.field, self.reads, self.tau = field, frozenset({field}), tau
        self.connector = connector(student_channels, teacher_channels)

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        f_s, f_t, batch = paired_features(student, teacher, self.field, "ChannelWise")
        return {"channel": channel_kl(self.connector(f_s), f_t, self.tau, batch)}
