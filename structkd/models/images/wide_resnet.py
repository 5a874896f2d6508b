"""Wide ResNets of CIFAR."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from structkd.errors import ConfigError
from structkd.models.images.base import ImageModel
from structkd.models.images.layers import GlobalPool, init_convs_


class _PreActivation(nn.Module):
    """Norm, ReLU and 3 x 3 convolution, twice, beside a shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.shortcut = None if in_channels == channels else nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        # A shortcut with a convolution reads the activation too; one without hands on what came in.
        short = x if self.shortcut is None else self.shortcut(out)
        return short + self.conv2(self.dropout(F.relu(self.bn2(self.conv1(out)))))


class WideResNet(ImageModel):
    """Wide residual network with pre-activation blocks.

    Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, table 1.

    Args:
        out_channels: classes.
        depth: layers, 6 n + 4 (16, 22, 28, 40).
        width: factor of the three stages' 16, 32, 64 channels.
        in_channels: colours of the image.
        dropout: share of activations dropped between the two convolutions of a block.

    Taps: `layer1`, `layer2`, `layer3` (sums of their last block, no norm and no ReLU yet) at full, half and quarter
    resolution; `act`, the last map after norm and ReLU; `pool` [B, 64 width].

    Raises:
        ConfigError: a depth that is not 6 n + 4.
    """

    def __init__(
        self, out_channels: int, depth: int = 16, width: int = 2, in_channels: int = 3, dropout: float = 0.0
    ) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1 or width < 1:
            raise ConfigError(f"depth={depth}, width={width}: expected a depth of 6 n + 4 and a width of 1 or more.")
        channels = [16 * width, 32 * width, 64 * width]
        before = 16
        self.conv1 = nn.Conv2d(in_channels, before, 3, 1, 1, bias=False)
        for i, after in enumerate(channels):
            layers = [
                _PreActivation(after if j else before, after, 2 if i and not j else 1, dropout) for j in range(blocks)
            ]
            self._add_stage(*layers)
            before = after
        self.bn1 = nn.BatchNorm2d(before)
        self.act = nn.ReLU()
        self.pool = GlobalPool()
        self.fc = nn.Linear(before, out_channels)
        init_convs_(self)
        nn.init.zeros_(self.fc.bias)
        self._describe([*((f"layer{i + 1}", c, 2**i) for i, c in enumerate(channels)), ("act", before, 4)], before)

    def forward(self, images: Tensor) -> Tensor:
        x = self._through_stages(self.conv1(images))
        return self.fc(self.pool(self.act(self.bn1(x))))
