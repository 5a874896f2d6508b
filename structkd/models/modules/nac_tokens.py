"""Tokens of an image, by a few ConvNeXt blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structkd.errors import ConfigError, DataError
from structkd.models.images.positions import sincos_positions

#: Tokens each way that a patch size is chosen for where none is given.
TOKENS = 8


class MapNorm(nn.LayerNorm):
    """Layer norm over the channels of a map [B, C, h, w]."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ConvNeXtBlock(nn.Module):
    """Liu et al., "A ConvNet for the 2020s", CVPR 2022, figure 4: [B, C, h, w] -> [B, C, h, w]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        rows = self.norm(self.conv(x).movedim(1, -1))
        return x + (self.scale * self.fc2(F.gelu(self.fc1(rows)))).movedim(-1, 1)


class ImageTokens(nn.Module):
    """Patches, then stages of ConvNeXt blocks that halve the grid and double the channels between them; positions are
    added at the end: [B, in_channels, H, W] -> [B, S, h, w].

    Args:
        in_channels: colours.
        channels: S, of the last stage.
        depths: blocks of each stage.
        patch_size: pixels of a patch; default: what gives about 8 tokens along the shorter side.
        image_size: pixels, for that default only.

    Attributes:
        stride: pixels of a token each way.

    Raises:
        ConfigError: no stages, channels that they cannot halve, a wrong patch size. DataError: images that are not made
            of whole tokens.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        depths: Sequence[int],
        patch_size: int | None,
        image_size: int | Sequence[int],
    ) -> None:
        super().__init__()
        halvings = len(depths) - 1
        if halvings < 0 or channels % 2**halvings or min(depths) < 0:
            raise ConfigError(
                f"stem_depths={list(depths)}: expected blocks of one stage or more that halve {channels}."
            )
        if patch_size is not None and (not isinstance(patch_size, int) or patch_size < 1):
            raise ConfigError(f"patch_size={patch_size!r}: expected a whole number of pixels, 1 or more, or None.")
        side = image_size if isinstance(image_size, int) else min(image_size)
        patch = patch_size or max(1, side // (TOKENS * 2**halvings))
        self.stride = patch * 2**halvings
        widths = [channels >> (halvings - stage) for stage in range(halvings + 1)]
        layers: list[nn.Module] = [nn.Conv2d(in_channels, widths[0], patch, patch), MapNorm(widths[0])]
        for stage, (width, depth) in enumerate(zip(widths, depths)):
            if stage:
                layers += [MapNorm(widths[stage - 1]), nn.Conv2d(widths[stage - 1], width, 2, 2)]
            layers += [ConvNeXtBlock(width) for _ in range(depth)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        if images.size(-2) % self.stride or images.size(-1) % self.stride:
            raise DataError(
                f"Images of shape {tuple(images.shape)} are not made of whole tokens of {self.stride} pixels."
            )
        x = self.layers(images)
        return x + sincos_positions((x.size(2), x.size(3)), x.size(1)).to(x).t().unflatten(1, x.shape[2:])
