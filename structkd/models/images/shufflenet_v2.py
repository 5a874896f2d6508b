"""ShuffleNetV2 for small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from structkd.models.images.base import ImageModel
from structkd.models.images.layers import GlobalPool, Shuffle, conv_norm, preset

#: Width -> channels of the three stages and of the last map.
CHANNELS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
BLOCKS = (4, 8, 4)
STEM = 24


class _Unit(nn.Module):
    """Half of the channels pass a 1 x 1, a 3 x 3 in each channel and a 1 x 1 convolution, the others stay."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            *conv_norm(half, half, 1), *conv_norm(half, half, 3, groups=half, act=False), *conv_norm(half, half, 1)
        )
        self.shuffle = Shuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, 1)
        return self.shuffle(torch.cat([kept, self.branch(changed)], 1))


class _Down(nn.Module):
    """Two branches with stride 2, each of half the channels."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.short = nn.Sequential(
            *conv_norm(in_channels, in_channels, 3, 2, groups=in_channels, act=False), *conv_norm(in_channels, half, 1)
        )
        self.branch = nn.Sequential(
            *conv_norm(in_channels, half, 1),
            *conv_norm(half, half, 3, 2, groups=half, act=False),
            *conv_norm(half, half, 1),
        )
        self.shuffle = Shuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(torch.cat([self.short(x), self.branch(x)], 1))


class ShuffleNetV2(ImageModel):
    """Channel split and shuffle.

    Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", ECCV 2018, table 5 and
    figure 3, in the form of the shared CIFAR distillation protocol.

    Args:
        out_channels: classes.
        width: 0.5, 1.0, 1.5 or 2.0.
        in_channels: colours of the image.

    Taps: `layer1`, `layer2`, `layer3` at 1/2, 1/4 and 1/8 of the image's size; `head`, the last map of 1024 (2048)
    channels; `pool`.

    Raises:
        ConfigError: an unknown width.

    Differences: the stem is a 1 x 1 convolution without stride where the paper, for 224 pixels, has a 3 x 3 one and a
    max pooling.
    """

    def __init__(self, out_channels: int, width: float = 1.0, in_channels: int = 3) -> None:
        super().__init__()
        *channels, last = preset(CHANNELS, float(width), "width")
        self.stem = nn.Sequential(*conv_norm(in_channels, STEM, 1))
        before = STEM
        for count, after in zip(BLOCKS, channels):
            units = [_Down(before, after), *(_Unit(after) for _ in range(count - 1))]
            self._add_stage(*units)
            before = after
        self.head = nn.Sequential(*conv_norm(before, last, 1))
        self.pool = GlobalPool()
        self.fc = nn.Linear(last, out_channels)
        self._describe([*((f"layer{i + 1}", c, 2 ** (i + 1)) for i, c in enumerate(channels)), ("head", last, 8)], last)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.pool(self.head(self._through_stages(self.stem(images)))))
