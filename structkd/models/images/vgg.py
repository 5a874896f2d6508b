"""VGG networks with batch norm, as trained on CIFAR."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from structkd.models.chain import Step, module_steps
from structkd.models.images.base import ImageModel
from structkd.models.images.layers import GlobalPool, init_convs_, preset

#: Depth -> convolutions of each of the five stages.
DEPTHS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)
#: Images of this many pixels, or more, are halved once more.
LARGE = 64


class VGG(ImageModel):
    """Plain 3 x 3 convolutions, batch norm and ReLU in five stages; one linear classifier.

    Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015, table 1, in
    the form of the shared CIFAR distillation protocol.

    Args:
        out_channels: classes.
        depth: 8, 11, 13, 16 or 19.
        in_channels: colours of the image.

    Taps: `layer1` ... `layer5` after their ReLU, at 1, 1/2, 1/4, 1/8 and 1/8 of the image's size; `pool` [B, 512].
    Images of 64 pixels or more are also halved before `layer5`. At least 8 pixels.

    Raises:
        ConfigError: an unknown depth.

    Differences: the paper has three linear layers and no batch norm.
    """

    def __init__(self, out_channels: int, depth: int = 8, in_channels: int = 3) -> None:
        super().__init__()
        before = in_channels
        for count, channels in zip(preset(DEPTHS, depth, "depth"), CHANNELS):
            layers: list[nn.Module] = []
            for _ in range(count):
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
                before = channels
            self._add_stage(*layers)
        self.halve = nn.MaxPool2d(2)
        self.pool = GlobalPool()
        self.fc = nn.Linear(before, out_channels)
        init_convs_(self)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)
        self._describe(((f"layer{i + 1}", c, s) for i, (c, s) in enumerate(zip(CHANNELS, (1, 2, 4, 8, 8)))), before)

    def chain(self) -> list[Step]:
        steps = []
        for i, name in enumerate(self._stages):
            first, *others = module_steps(self, [name])
            if i:
                # As large as the last stage's maps are where the image is LARGE, after three halvings.
                least = LARGE // 8 if i == 4 else 0
                first = Step(first.name, partial(_halved, first.name, least), ("halve", first.name))
            steps += [first, *others]
        return [*steps, *module_steps(self, ["pool", "fc"])]

    def forward(self, images: Tensor) -> Tensor:
        halved = 5 if min(images.shape[-2:]) >= LARGE else 4
        x = images
        for i, name in enumerate(self._stages):
            x = getattr(self, name)(self.halve(x) if 0 < i < halved else x)
        return self.fc(self.pool(x))


def _halved(path: str, least: int, model: Any, x: Tensor) -> Tensor:
    """The layer at `path`, after a halving of maps that are at least so large."""
    return model.get_submodule(path)(model.halve(x) if min(x.shape[-2:]) >= least else x)
