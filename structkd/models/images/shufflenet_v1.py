"""ShuffleNet for small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structkd.models.images.base import ImageModel
from structkd.models.images.layers import GlobalPool, Shuffle, conv_norm, preset

#: Groups -> channels of the three stages.
CHANNELS = {1: (144, 288, 576), 2: (200, 400, 800), 3: (240, 480, 960)}
BLOCKS = (4, 8, 4)
STEM = 24


class _ShuffleUnit(nn.Module):
    """Grouped 1 x 1 convolution, shuffle, 3 x 3 in each channel, grouped 1 x 1; joined to a shortcut.

    With a stride the shortcut is a mean over 3 x 3 cells and stands beside the result, otherwise it is added to it.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, groups: int) -> None:
        super().__init__()
        self.stride = stride
        added = out_channels - in_channels if stride > 1 else out_channels
        inner, first = added // 4, 1 if in_channels == STEM else groups
        self.reduce = nn.Sequential(*conv_norm(in_channels, inner, 1, groups=first), Shuffle(first))
        self.depthwise = nn.Sequential(*conv_norm(inner, inner, 3, stride, groups=inner))
        self.expand = nn.Sequential(*conv_norm(inner, added, 1, groups=groups, act=False))

    def forward(self, x: Tensor) -> Tensor:
        out = self.expand(self.depthwise(self.reduce(x)))
        if self.stride == 1:
            return F.relu(out + x)
        return F.relu(torch.cat([out, F.avg_pool2d(x, 3, self.stride, 1)], 1))


class ShuffleNetV1(ImageModel):
    """Grouped convolutions with a channel shuffle between them.

    Zhang et al., "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices", CVPR 2018,
    table 1 and figure 2, in the form of the shared CIFAR distillation protocol.

    Args:
        out_channels: classes.
        groups: of the 1 x 1 convolutions: 1, 2 or 3; it sets the channels of the stages (240, 480, 960 for 3).
        in_channels: colours of the image.

    Taps: `layer1`, `layer2`, `layer3` after their ReLU, at 1/2, 1/4 and 1/8 of the image's size; `pool`.

    Raises:
        ConfigError: another number of groups.

    Differences: the stem is a 1 x 1 convolution without stride where the paper, for 224 pixels, has a 3 x 3 one and a
    max pooling. As in the protocol, ReLU also follows the 3 x 3 convolutions, and the inner channels of a unit with a
    stride are a quarter of those it adds (paper: of those that leave it).
    """

    def __init__(self, out_channels: int, groups: int = 3, in_channels: int = 3) -> None:
        super().__init__()
        channels = preset(CHANNELS, groups, "groups")
        self.stem = nn.Sequential(*conv_norm(in_channels, STEM, 1))
        before = STEM
        for count, after in zip(BLOCKS, channels):
            units = [_ShuffleUnit(after if j else before, after, 1 if j else 2, groups) for j in range(count)]
            self._add_stage(*units)
            before = after
        self.pool = GlobalPool()
        self.fc = nn.Linear(before, out_channels)
        self._describe(((f"layer{i + 1}", c, 2 ** (i + 1)) for i, c in enumerate(channels)), before)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.pool(self._through_stages(self.stem(images))))
