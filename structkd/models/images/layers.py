"""What the convolutional families share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from structkd.errors import ConfigError, nearest

Value = TypeVar("Value")


class GlobalPool(nn.Module):
    """Mean over the cells of a map: [B, C, h, w] -> [B, C]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Shuffle(nn.Module):
    """Interleaves the channels of `groups` equal groups, so that the next grouped convolution mixes them."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)


def conv_norm(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True
) -> list[nn.Module]:
    """Convolution without bias that keeps the size (before its stride), batch norm and, on request, ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out_channels), *([nn.ReLU()] if act else [])]


def init_convs_(model: nn.Module, per_group: bool = False) -> None:
    """He's normal initialisation by fan-out, of all convolutions (He et al., ICCV 2015).

    Args:
        per_group: count only the outputs that an input reaches, one of `groups` parts. The CIFAR protocol counts all,
            and so starts convolutions of single channels with small weights.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if per_group:
                module.weight.data.mul_(module.groups**0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def preset(table: Mapping[Any, Value], key: Any, name: str) -> Value:
    """`table[key]`; a `ConfigError` that lists the table where there is no such entry."""
    if key not in table:
        raise ConfigError(f"{name}={key!r} is unknown. {nearest(str(key), table)}")
    return table[key]
