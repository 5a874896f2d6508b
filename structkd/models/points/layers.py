"""What the layers of the point detectors share: batch norm with the published constants, and initialisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structkd.errors import ConfigError

#: Batch norm of PointPillars, SECOND and CenterPoint (torch's own defaults: 1e-5 and 0.1).
EPS, MOMENTUM = 1e-3, 0.01


def batch_norm_1d(channels: int) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(channels, eps=EPS, momentum=MOMENTUM)


def batch_norm_2d(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPS, momentum=MOMENTUM)


def conv_norm_relu(in_channels: int, out_channels: int, stride: int = 1) -> list[nn.Module]:
    """3 x 3 convolution without bias, batch norm, ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, batch_norm_2d(out_channels), nn.ReLU()]


def norm_rows(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Batch norm of rows [N, C].

    Fewer than two rows have no variance, so a batch (almost) without points is normalised with the running statistics
    even in training.
    """
    if norm.training and x.size(0) < 2:
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)
    return norm(x)


def norm_padded_rows(norm: nn.BatchNorm1d, x: Tensor, zeros: int) -> tuple[Tensor, Tensor]:
    """Batch norm of rows [N, C] that `zeros` rows of zeros follow, which are not held.

    Returns:
        The normalised rows [N, C], and [C] what each row of zeros becomes.
    """
    total = x.size(0) + zeros
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None and var is not None and norm.momentum is not None and norm.num_batches_tracked is not None
    if norm.training and total > 1:
        seen = x.sum(0) / total
        spread = ((x - seen).square().sum(0) + zeros * seen.square()) / total
        with torch.no_grad():
            norm.num_batches_tracked.add_(1)
            mean.lerp_(seen.to(mean), norm.momentum)
            var.lerp_((spread * (total / (total - 1))).to(var), norm.momentum)
        mean, var = seen, spread
    scale = norm.weight * torch.rsqrt(var + norm.eps)
    shift = norm.bias - mean * scale
    return x * scale + shift, shift


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, rounded; `ConfigError` if nothing is left."""
    result = round(channels * width)
    if result < 1:
        raise ConfigError(f"width={width} leaves no channel of {channels}.")
    return result
