"""MobileNetV2 for small images."""

from __future__ import annotations

from torch import Tensor, nn

from structkd.models.images.base import ImageModel
from structkd.models.images.layers import GlobalPool, conv_norm, init_convs_

#: Channels, blocks and first stride of each stage at width 1.
STAGES = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
HEAD_CHANNELS = 1280


class _InvertedResidual(nn.Module):
    """1 x 1 convolution to more channels, a 3 x 3 one in each channel, 1 x 1 back; a shortcut where shapes allow."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = expansion * in_channels
        self.conv = nn.Sequential(
            *conv_norm(in_channels, inner, 1),
            *conv_norm(inner, inner, 3, stride, groups=inner),
            *conv_norm(inner, out_channels, 1, act=False),
        )
        self.short = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.short else self.conv(x)


class MobileNetV2(ImageModel):
    """Inverted residuals.

    Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2, in the form of the
    shared CIFAR distillation protocol.

    Args:
        out_channels: classes.
        width: factor of all channels but the last 1280 (those too, above 1).
        expansion: of the inverted residuals; the first has none.
        in_channels: colours of the image.

    Taps: `layer1` ... `layer7` at 1/2, 1/2, 1/4, 1/8, 1/8, 1/16, 1/16 of the image's size, without activation
    (linear bottlenecks); `head`, the last map with `max(1, width) * 1280` channels; `pool`.

    Differences: the paper halves images twice more (it reads 224 pixels) and has ReLU6 where the protocol has ReLU; its
    first block has no 1 x 1 convolution before the 3 x 3 one.
    """

    def __init__(self, out_channels: int, width: float = 0.5, expansion: int = 6, in_channels: int = 3) -> None:
        super().__init__()
        before, stride = int(32 * width), 2
        self.stem = nn.Sequential(*conv_norm(in_channels, before, 3, stride))
        maps = []
        for i, (channels, count, first) in enumerate(STAGES):
            after = int(channels * width)
            layers = [
                _InvertedResidual(after if j else before, after, 1 if j else first, expansion if i else 1)
                for j in range(count)
            ]
            self._add_stage(*layers)
            before, stride = after, stride * first
            maps.append((f"layer{i + 1}", after, stride))
        last = int(HEAD_CHANNELS * max(1.0, width))
        self.head = nn.Sequential(*conv_norm(before, last, 1))
        self.pool = GlobalPool()
        self.fc = nn.Linear(last, out_channels)
        init_convs_(self)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)
        self._describe([*maps, ("head", last, stride)], last)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.pool(self.head(self._through_stages(self.stem(images)))))
