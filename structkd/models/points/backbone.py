"""The 2D network seen from above: convolutions at falling resolution, and back up to one map."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from structkd.errors import ConfigError
from structkd.models.points.layers import batch_norm_2d, conv_norm_relu


class Backbone(nn.Module):
    """Blocks of 3 x 3 convolutions, each with batch norm and ReLU; the first of a block has a stride.

    Args:
        in_channels: C of the map it reads.
        layer_nums: convolutions of each block after its first.
        strides: of the first convolution of each block.
        channels: of each block.

    Shapes: [B, C, H, W] -> one map a block, each smaller by its stride.

    Source: Lang et al., "PointPillars", CVPR 2019, section 2.2; Yan et al., "SECOND", Sensors 2018, section 3.1.3.
    """

    def __init__(
        self, in_channels: int, layer_nums: Sequence[int], strides: Sequence[int], channels: Sequence[int]
    ) -> None:
        super().__init__()
        if not len(layer_nums) == len(strides) == len(channels) or not channels:
            raise ConfigError(
                f"layer_nums={tuple(layer_nums)}, strides={tuple(strides)}, channels={tuple(channels)}: expected one "
                "number a block in each."
            )
        self.blocks = nn.ModuleList()
        for layers, stride, out_channels in zip(layer_nums, strides, channels):
            block = conv_norm_relu(in_channels, out_channels, stride)
            for _ in range(layers):
                block += conv_norm_relu(out_channels, out_channels)
            self.blocks.append(nn.Sequential(*block))
            in_channels = out_channels

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return maps


class Neck(nn.Module):
    """Brings the maps of a backbone to one resolution and joins their channels.

    Args:
        in_channels: of each map.
        out_channels: each map's part of the result.
        strides: each map's factor of resolution; below 1 it is made smaller (0.5: half as many cells each way).

    Shapes: maps -> [B, sum of out_channels, H', W'].
    """

    def __init__(self, in_channels: Sequence[int], out_channels: Sequence[int], strides: Sequence[float]) -> None:
        super().__init__()
        if not len(in_channels) == len(out_channels) == len(strides):
            raise ConfigError(
                f"neck_channels={tuple(out_channels)}, neck_strides={tuple(strides)}: expected one number for each of "
                f"the {len(in_channels)} maps."
            )
        self.deblocks = nn.ModuleList()
        for before, after, stride in zip(in_channels, out_channels, strides):
            conv = nn.ConvTranspose2d if stride >= 1 else nn.Conv2d
            size = round(stride if stride >= 1 else 1 / stride)
            layer = conv(before, after, size, size, bias=False)
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            self.deblocks.append(nn.Sequential(layer, batch_norm_2d(after), nn.ReLU()))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return torch.cat([deblock(x) for deblock, x in zip(self.deblocks, maps)], 1)


def head_shape(shape: tuple[int, int], strides: Sequence[int], neck_strides: Sequence[float]) -> tuple[int, int]:
    """H, W of the neck's map, for a canvas of `shape` H, W cells.

    Raises:
        ConfigError: a canvas that the strides do not divide, or maps that do not come out equal.
    """
    total = math.prod(strides)
    if any(cells % total for cells in shape):
        raise ConfigError(
            f"The canvas has {shape[0]} x {shape[1]} cells (y, x), not divisible by {total}, the product of strides "
            f"{tuple(strides)}. Choose point_range and voxel_size so that they are."
        )
    found = set()
    stride = 1
    for down, up in zip(strides, neck_strides):
        stride *= down
        found.add(tuple(round(cells / stride * up) for cells in shape))
    if len(found) != 1:
        raise ConfigError(
            f"strides={tuple(strides)} with neck_strides={tuple(neck_strides)} give maps of {sorted(found)} cells; "
            "they must be equal to be joined."
        )
    height, width = found.pop()
    return height, width
