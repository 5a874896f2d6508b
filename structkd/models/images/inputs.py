"""Images as a pretrained network wants them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structkd.errors import ConfigError


class ImageInput(nn.Module):
    """Turns images normalised in one way into images normalised in another, and resizes them.

    Args:
        mean, std: that the images came from pixels 0..1 with: x = (pixel - mean) / std, one number a colour. `None` for
            both: the images are as wanted already.
        wanted_mean, wanted_std: what the network was trained with.
        size: (H, W) or one number; bilinear, with antialiasing where the images get smaller. `None` keeps their size.

    Shapes: [B, C, H, W] -> [B, C, H', W'], channels last in memory: convolutions keep that order, and depthwise
    ones run in half the time with it on a CPU.

    Raises:
        ConfigError: a mean without a std or the other way round, or numbers for another count of colours.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        wanted_mean: Sequence[float],
        wanted_std: Sequence[float],
        size: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if (mean is None) != (std is None):
            raise ConfigError(f"pixel_mean={mean}, pixel_std={std}: expected both or neither.")
        target_mean, target_std = (torch.tensor(list(v), dtype=torch.float64) for v in (wanted_mean, wanted_std))
        given_mean = target_mean if mean is None else torch.tensor(list(mean), dtype=torch.float64)
        given_std = target_std if std is None else torch.tensor(list(std), dtype=torch.float64)
        if not given_mean.shape == given_std.shape == target_mean.shape == target_std.shape:
            raise ConfigError(f"pixel_mean={mean}, pixel_std={std}: expected {len(target_mean)} numbers each.")
        # ((x std + mean) - wanted_mean) / wanted_std
        shapes = {"scale": given_std / target_std, "shift": (given_mean - target_mean) / target_std}
        for name, value in shapes.items():
            self.register_buffer(name, value.to(torch.get_default_dtype())[:, None, None], persistent=False)
        self.same = mean is None
        self.size = (size, size) if isinstance(size, int) else None if size is None else (size[0], size[1])

    def forward(self, images: Tensor) -> Tensor:
        x = images if self.same else images * self.scale + self.shift
        if self.size is not None and tuple(x.shape[-2:]) != self.size:
            x = F.interpolate(x, self.size, mode="bilinear", align_corners=False, antialias=True)
        return x.contiguous(memory_format=torch.channels_last)
