"""VID: a student's features tell as much as they can about the teacher's."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from structkd.distillers.base import Distiller
from structkd.distillers.checks import positive
from structkd.distillers.connectors import Connector
from structkd.distillers.features.pairs import paired_features
from structkd.errors import ConfigError
from structkd.losses.gaussian import gaussian_nll
from structkd.structure import Structure

EPS = 1e-5


class VID(Distiller):
    r"""Variational information distillation: a lower bound of the mutual information, made tight while it is raised.

    Ahn et al., "Variational Information Distillation for Knowledge Transfer", CVPR 2019:

    .. math:: L = \frac{1}{B} \sum_b \frac{1}{N_b C} \sum_{i, c}
              \frac{(f_t[i, c] - \mu_c(f_s[i]))^2}{2 \sigma_c^2} + \log \sigma_c, \qquad
              \sigma_c^2 = \epsilon + \log(1 + e^{\alpha_c})

    over the elements i of a sample b (cells of a map, rows); mu is three linear maps with ReLU between them.

    Args:
        student_channels, teacher_channels: C of the field on either side.
        field: what is compared, a map [B, C, H, W], rows [N, C] with `batch`, or a vector a sample [B, C].
        variance: sigma^2 at the start (published: 5).

    Reads `field` of both sides; teacher maps of another size are resized to the student's. Returns `likelihood`.
    Smallest, the mean of log sigma, where mu is the teacher's features: not zero, and negative as soon as the variances
    are below 1. mu and the variances are learned. Published weight: 1.

    Differences: the common code brings sides of different size to the smaller of the two by averaging.
    """

    def __init__(
        self, student_channels: int, teacher_channels: int, field: str = "neck", variance: float = 5.0
    ) -> None:
        super().__init__()
        positive("VID", variance=variance)
        if variance <= EPS:
            raise ConfigError(f"VID(variance={variance}): expected more than {EPS}, the least variance there is.")
        self.field, self.reads = field, frozenset({field})
        self.mean = nn.Sequential(
            Connector(student_channels, teacher_channels, bias=False),
            nn.ReLU(),
            Connector(teacher_channels, teacher_channels, bias=False),
            nn.ReLU(),
            Connector(teacher_channels, teacher_channels, bias=False),
        )
        self.log_scale = nn.Parameter(torch.full((teacher_channels,), math.log(math.expm1(variance - EPS))))

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        f_s, f_t, batch = paired_features(student, teacher, self.field, "VID")
        variance = F.softplus(self.log_scale) + EPS
        return {"likelihood": gaussian_nll(self.mean(f_s), f_t, variance, batch)}
