"""Learned maps from a student's channels to a teacher's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from structkd.distillers.checks import positive
from structkd.errors import DataError
from structkd.ops.precision import accumulator


class Connector(nn.Linear):
    """A linear map of channels: a 1 x 1 convolution on maps [B, C, H, W], a layer on rows [N, C].

    Args:
        student_channels: C that comes in.
        teacher_channels: C that goes out.
        bias: whether a learned constant is added to each channel.
        side: whose features come in, for errors.

    Raises:
        ConfigError: channels that are not positive.
        DataError: features of another number of channels.
    """

    def __init__(self, student_channels: int, teacher_channels: int, bias: bool = True, side: str = "student") -> None:
        positive("Connector", student_channels=student_channels, teacher_channels=teacher_channels)
        super().__init__(student_channels, teacher_channels, bias)
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() not in (2, 4) or x.size(1) != self.in_features:
            raise DataError(
                f"{self.side.capitalize()} features have shape {tuple(x.shape)}; the connector was built for "
                f"{self.side}_channels="
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


class UnitConnector(Connector):
    """A `Connector` to a space where vectors have length 1: [B, C_in] -> [B, C_out], at least float32."""

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return F.normalize(x.to(accumulator(x)), dim=1)


class NormalizedConnector(nn.Module):
    """A `Connector` without a bias, then batch normalisation; arguments, shapes and errors as there.

    A batch with a single value a channel has no statistics: it is normalised by the running ones.
    """

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.linear = Connector(student_channels, teacher_channels, bias=False)
        self.norm = BatchNorm(teacher_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x))


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation of maps [B, C, H, W] and rows [N, C], of which there may be none or one."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            return self(x[:, :, None, None])[:, :, 0, 0]
        if x.numel() > x.size(1):
            return super().forward(x)
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
