"""Sums that the detectors' losses are made of."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def negative_focal(logits: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    r"""Focal loss of scores whose target is 0, elementwise: :math:`(1 - \alpha) p^\gamma (-\ln(1 - p))`.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 5.
    """
    return (1 - alpha) * logits.sigmoid().pow(gamma) * F.softplus(logits)


def positive_focal(logits: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    r"""Focal loss of scores whose target is 1, elementwise: :math:`\alpha (1 - p)^\gamma (-\ln p)`."""
    return alpha * (-logits).sigmoid().pow(gamma) * F.softplus(-logits)


def gaussian_focal(logits: Tensor, heatmap: Tensor) -> Tensor:
    r"""Sum of the penalty-reduced focal loss on a map of soft peaks.

    :math:`(1 - p)^2 (-\ln p)` where the heat map :math:`y` is 1, :math:`(1 - y)^4 p^2 (-\ln(1 - p))` elsewhere.

    Source: Zhou et al., "Objects as Points", 2019, equation 1.
    """
    at_peak = positive_focal(logits, alpha=1.0)
    elsewhere = (1 - heatmap).pow(4) * negative_focal(logits, alpha=0.0)
    return torch.where(heatmap == 1, at_peak, elsewhere).sum()


def smooth_l1(predicted: Tensor, target: Tensor, beta: float = 1 / 9) -> Tensor:
    """Sum of the smooth L1 loss: quadratic below `beta`, linear above."""
    return F.smooth_l1_loss(predicted, target, beta=beta, reduction="sum")
