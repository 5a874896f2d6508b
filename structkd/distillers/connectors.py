"""Learned maps from a student's channels to a teacher's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from structkd.distillers.checks import positive
from structkd.errors import DataError


class Connector(nn.Linear):
    """A linear map of channels: a 1 x 1 convolution on maps [B, C, H, W], a layer on rows [N, C].

    Args:
        student_channels: C that comes in.
        teacher_channels: C that goes out.
        bias: whether a learned constant is added to each channel.

    Raises:
        ConfigError: channels that are not positive.
        DataError: features of another number of channels.
    """

    def __init__(self, student_channels: int, teacher_channels: int, bias: bool = True) -> None:
        positive("Connector", student_channels=student_channels, teacher_channels=teacher_channels)
        super().__init__(student_channels, teacher_channels, bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() not in (2, 4) or x.size(1) != self.in_features:
            raise DataError(
                f"Student features have shape {tuple(x.shape)}; the connector was built for student_channels="
                f"{self.in_features}: [N, {self.in_features}] or [B, {self.in_features}, H, W]."
            )
        if x.dim() == 4:
            return F.conv2d(x, self.weight[:, :, None, None], self.bias)
        return super().forward(x)


def connector(student_channels: int, teacher_channels: int) -> nn.Module:
    """A `Connector` where the channels differ; nothing where they do not.

    Without a bias: the losses that take it are blind to a constant of a channel.
    """
    if student_channels == teacher_channels:
        return nn.Identity()
    return Connector(student_channels, teacher_channels, bias=False)
