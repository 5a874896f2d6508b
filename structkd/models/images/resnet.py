"""ResNets: those of CIFAR with three stages, those of ImageNet with four."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from structkd.models.chain import Step, module_steps
from structkd.models.images.base import ImageModel
from structkd.models.images.layers import GlobalPool, init_convs_, preset

_THIN, _WIDE, _FOUR = (16, 16, 32, 64), (32, 64, 128, 256), (64, 64, 128, 256, 512)
#: Name -> blocks of each stage; channels of the stem and of each stage; whether blocks have a bottleneck.
VARIANTS: dict[str, tuple[tuple[int, ...], tuple[int, ...], bool]] = {
    **{str(6 * n + 2): ((n, n, n), _THIN, False) for n in (1, 2, 3, 5, 7, 9, 18)},
    **{f"{6 * n + 2}x4": ((n, n, n), _WIDE, False) for n in (1, 5)},
    "18": ((2, 2, 2, 2), _FOUR, False),
    "34": ((3, 4, 6, 3), _FOUR, False),
    "50": ((3, 4, 6, 3), _FOUR, True),
}


class _Basic(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.downsample(x))


class _Bottleneck(nn.Module):
    """A 3 x 3 convolution between two 1 x 1, beside a shortcut; four times as many channels go out."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = self.expansion * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.downsample(x))


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


class ResNet(ImageModel):
    """Residual network.

    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016: section 4.2 (CIFAR) and table 1 (ImageNet).

    Args:
        out_channels: classes.
        depth: three stages of 16, 32, 64 channels: 8, 14, 20, 32, 44, 56, 110; of 64, 128, 256 channels (stem 32):
            "8x4", "32x4"; four stages of the ImageNet networks: 18, 34, 50.
        in_channels: colours of the image.
        stem: "small" is one 3 x 3 convolution (images of 32 or 64 pixels); "large" a 7 x 7 convolution and a max
            pooling, each with stride 2 (224 pixels).

    Taps: `layer1`, `layer2`, `layer3` (, `layer4`) after their ReLU; the first has the stem's resolution, each further
    one half of it. `pool` [B, C].

    Raises:
        ConfigError: an unknown depth or stem.

    Differences: the paper's CIFAR networks have shortcuts without parameters; the shared distillation protocol (and
    this class) has 1 x 1 convolutions there, as on ImageNet. Parameter names are the common ones, so that published
    state dicts of 18, 34 and 50 layers load.
    """

    def __init__(self, out_channels: int, depth: int | str = 20, in_channels: int = 3, stem: str = "small") -> None:
        super().__init__()
        blocks, (width, *channels), deep = preset(VARIANTS, str(depth), "depth")
        kernel, stride = preset({"small": (3, 1), "large": (7, 2)}, stem, "stem")
        block = _Bottleneck if deep else _Basic
        self.conv1 = nn.Conv2d(in_channels, width, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem == "large" else nn.Identity()
        for i, (count, inner) in enumerate(zip(blocks, channels)):
            layers = []
            for j in range(count):
                layers.append(block(width, inner, 2 if i and not j else 1))
                width = block.expansion * inner
            self._add_stage(*layers)
        self.pool = GlobalPool()
        self.fc = nn.Linear(width, out_channels)
        init_convs_(self)
        first = 4 if stem == "large" else 1
        self._describe(((f"layer{i + 1}", block.expansion * c, first * 2**i) for i, c in enumerate(channels)), width)

    def _stem(self, images: Tensor) -> Tensor:
        return self.maxpool(F.relu(self.bn1(self.conv1(images))))

    def chain(self) -> list[Step]:
        stem = Step("stem", ResNet._stem, ("conv1", "bn1", "maxpool"))
        return [stem, *module_steps(self, [*self._stages, "pool", "fc"])]

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.pool(self._through_stages(self._stem(images))))
