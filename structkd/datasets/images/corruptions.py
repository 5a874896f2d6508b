"""Corrupted test images: the same six kinds of damage for every model, at five severities."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from structkd.datasets.images.augment import ImageAugmentation, stacked
from structkd.datasets.images.image_set import Pixels
from structkd.errors import ConfigError, nearest

SEVERITIES = 5
Damage = Callable[[Tensor, float, Tensor], Tensor]  # images [B, 3, H, W] from 0 to 1, strength, u [B] -> images


class Corrupt(ImageAugmentation):
    """Damages images.

    Args:
        kind: "noise" (Gaussian), "blur" (Gaussian), "contrast" (towards each image's mean), "brightness" (lighter),
            "pixelate" (mean of squares), "shift" (in one of eight directions; black moves in).
        severity: 1 to 5.

    Source: the idea and several strengths are those of Hendrycks and Dietterich, "Benchmarking Neural Network
    Robustness to Common Corruptions and Perturbations", ICLR 2019.

    Differences: six kinds for images of any size, digits of 8 pixels too: blur, squares and shifts are in units of the
    image's shorter side. Not comparable with figures on ImageNet-C or CIFAR-C.
    """

    draws = 1

    def __init__(self, kind: str, severity: int = 3) -> None:
        if kind not in KINDS:
            raise ConfigError(f"Corrupt(kind='{kind}') is unknown. {nearest(kind, KINDS)}")
        if not isinstance(severity, int) or not 1 <= severity <= SEVERITIES:
            raise ConfigError(f"Corrupt(severity={severity!r}): expected a whole number from 1 to {SEVERITIES}.")
        self.damage, strengths = KINDS[kind]
        self.strength = strengths[severity - 1]

    def __call__(self, images: Pixels, u: Tensor) -> Tensor:
        damaged = self.damage(stacked(images).float() / 255, self.strength, u[:, 0])
        return (damaged * 255).round().clamp_(0, 255).to(torch.uint8)


def _noise(images: Tensor, strength: float, u: Tensor) -> Tensor:
    # A generator for each image, so that its noise does not hang on what else is in the batch.
    seeds = (u * 2.0**53).long().tolist()
    drawn = [torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return images + strength * torch.stack(drawn) if drawn else images


def _blur(images: Tensor, strength: float, u: Tensor) -> Tensor:
    sigma = strength * min(images.shape[2:])
    reach = min(math.ceil(3 * sigma), min(images.shape[2:]) - 1)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma).square())
    weights = (weights / weights.sum()).view(1, 1, 1, -1).repeat(3, 1, 1, 1)
    x = F.conv2d(F.pad(images, (reach, reach, 0, 0), mode="reflect"), weights, groups=3)
    return F.conv2d(F.pad(x, (0, 0, reach, reach), mode="reflect"), weights.transpose(2, 3), groups=3)


def _contrast(images: Tensor, strength: float, u: Tensor) -> Tensor:
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + strength * (images - mean)


def _brightness(images: Tensor, strength: float, u: Tensor) -> Tensor:
    return images + strength


def _pixelate(images: Tensor, strength: float, u: Tensor) -> Tensor:
    height, width = (max(1, round(strength * side)) for side in images.shape[2:])
    return F.interpolate(F.adaptive_avg_pool2d(images, (height, width)), images.shape[2:], mode="nearest")


def _shift(images: Tensor, strength: float, u: Tensor) -> Tensor:
    step = max(1, round(strength * min(images.shape[2:])))
    places = torch.tensor([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j])[(u * 8).long()] * step
    height, width = images.shape[2:]
    windows = F.pad(images, (step,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(images)), :, step + places[:, 0], step + places[:, 1]]


#: Name -> what is done, and its strength at severities 1 to 5: standard deviation of the noise (pixels from 0 to 1), of
#: the blur (image sides), share of the contrast that stays, added brightness, sides of the small image and distance
#: (image sides).
KINDS: dict[str, tuple[Damage, tuple[float, ...]]] = {
    "noise": (_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "blur": (_blur, (0.04, 0.055, 0.07, 0.085, 0.1)),
    "contrast": (_contrast, (0.6, 0.45, 0.3, 0.2, 0.12)),
    "brightness": (_brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "pixelate": (_pixelate, (0.75, 0.62, 0.5, 0.38, 0.25)),
    "shift": (_shift, (0.06, 0.12, 0.18, 0.24, 0.3)),
}
