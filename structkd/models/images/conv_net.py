"""A small plain convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from structkd.errors import ConfigError
from structkd.models.images.base import ImageModel
from structkd.models.images.layers import GlobalPool, conv_norm, init_convs_


class ConvNet(ImageModel):
    """3 x 3 convolutions, batch norm and ReLU in stages that halve the map; a mean and a linear classifier.

    Args:
        out_channels: classes.
        channels: of each stage.
        layers: convolutions of each stage; the first of every stage but the first has stride 2.
        in_channels: colours of the image.
        image_size: pixels of the images (of the shorter side), which sets the first stage's stride: 1 below 96, 2
            below 192, 4 from there on, so that the maps of images from 8 to 224 pixels stay small. Images of any other
            size still pass.

    Taps: `layer1`, `layer2`, ... after their ReLU; `pool` [B, channels[-1]].

    Raises:
        ConfigError: no stage, or one without channels or layers.
    """

    def __init__(
        self,
        out_channels: int,
        channels: Sequence[int] = (32, 64, 128),
        layers: int = 1,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 32,
    ) -> None:
        super().__init__()
        if not channels or min(channels) < 1 or layers < 1:
            raise ConfigError(f"channels={tuple(channels)}, layers={layers}: expected one stage or more, none empty.")
        pixels = image_size if isinstance(image_size, int) else min(image_size)
        stride = 1 if pixels < 96 else 2 if pixels < 192 else 4
        # A stride of 4 would skip pixels between windows of 3.
        kernel, before = (3 if stride < 4 else 7), in_channels
        maps = []
        for i, after in enumerate(channels):
            stage = conv_norm(before, after, 3 if i else kernel, 2 if i else stride)
            for _ in range(layers - 1):
                stage += conv_norm(after, after, 3)
            self._add_stage(*stage)
            before = after
            maps.append((self._stages[-1], after, stride * 2**i))
        self.pool = GlobalPool()
        self.fc = nn.Linear(before, out_channels)
        init_convs_(self)
        self._describe(maps, before)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.pool(self._through_stages(images)))
