"""RandAugment on whole batches."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from structkd.datasets.images.augment import ImageAugmentation, stacked
from structkd.datasets.images.image_set import Pixels
from structkd.errors import ConfigError

#: Largest magnitude.
LEVELS = 30


class RandAugment(ImageAugmentation):
    """Random changes of colour and geometry, a few for each image.

    Args:
        num_ops: changes one after another.
        magnitude: their strength, 0 to 30.

    Source: Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space", NeurIPS 2020
    (arXiv:1909.13719).

    Differences: 12 of the 14 changes; sharpness and equalisation are left out. Strengths are torchvision's, but images
    are sheared about their centre instead of a corner. What is moved in from outside is black.
    """

    def __init__(self, num_ops: int = 2, magnitude: float = 9) -> None:
        if num_ops < 1 or not 0 <= magnitude <= LEVELS:
            raise ConfigError(
                f"RandAugment(num_ops={num_ops}, magnitude={magnitude}): expected at least one change and a magnitude "
                f"from 0 to {LEVELS}."
            )
        self.num_ops, self.level, self.draws = num_ops, magnitude / LEVELS, 2 * num_ops

    def __call__(self, images: Pixels, u: Tensor) -> Tensor:
        images = stacked(images)
        changes = list(CHANGES.values())
        for chosen, sign in u.view(-1, self.num_ops, 2).permute(1, 2, 0):
            which = (chosen * len(changes)).long()
            level = torch.where(sign < 0.5, -self.level, self.level).float()
            changed = images.clone()
            for number, change in enumerate(changes):
                rows = (which == number).nonzero().view(-1)
                if rows.numel():
                    changed[rows] = change(images[rows], level[rows])
            images = changed
        return images


Change = Callable[[Tensor, Tensor], Tensor]  # images [n, 3, H, W] uint8, level [n] from -1 to 1 -> images


def _blend(base: Callable[[Tensor], Tensor]) -> Change:
    """Away from a plain version of the image, or (level below 0) towards it."""

    def change(images: Tensor, level: Tensor) -> Tensor:
        plain = base(images)
        factor = (1 + 0.9 * level).view(-1, 1, 1, 1)
        return (plain + factor * (images - plain)).clamp_(0, 255).to(torch.uint8)

    return change


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.float().split(1, 1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _warp(matrix: Callable[[Tensor, float, float], tuple[Tensor, ...]]) -> Change:
    """Moves pixels: (level, height, width) -> a, b, c, d, e, f; what is shown at (x, y) from the centre, in pixels,
    lies at (a x + b y + c, d x + e y + f)."""

    def change(images: Tensor, level: Tensor) -> Tensor:
        height, width = images.shape[2:]
        a, b, c, d, e, f = (value.expand_as(level) for value in matrix(level, height, width))
        # affine_grid counts from -1 to 1 across the image
        rows = [torch.stack([a, b * height / width, c * 2 / width], 1)]
        rows.append(torch.stack([d * width / height, e, f * 2 / height], 1))
        grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
        moved = F.grid_sample(images.float(), grid, mode="nearest", padding_mode="zeros", align_corners=False)
        return moved.to(torch.uint8)

    return change


def _autocontrast(images: Tensor, level: Tensor) -> Tensor:
    low, high = images.amin((2, 3), keepdim=True).float(), images.amax((2, 3), keepdim=True).float()
    stretched = ((images - low) * (255 / (high - low).clamp(min=1))).clamp_(0, 255)
    return torch.where(high > low, stretched, images.float()).to(torch.uint8)


def _posterize(images: Tensor, level: Tensor) -> Tensor:
    dropped = (4 * level.abs()).round().to(torch.uint8).view(-1, 1, 1, 1)
    return images >> dropped << dropped


def _solarize(images: Tensor, level: Tensor) -> Tensor:
    bright = images >= 255 * (1 - level.abs()).view(-1, 1, 1, 1)
    return torch.where(bright, 255 - images, images)


_ONE, _ZERO = torch.ones(1), torch.zeros(1)
CHANGES: dict[str, Change] = {
    "identity": lambda images, level: images,
    "autocontrast": _autocontrast,
    "posterize": _posterize,
    "solarize": _solarize,
    "brightness": _blend(lambda images: torch.zeros(1)),
    "color": _blend(_grey),
    "contrast": _blend(lambda images: _grey(images).mean((2, 3), keepdim=True)),
    "rotate": _warp(lambda t, h, w: _rotation(t * math.radians(30))),
    "shear_x": _warp(lambda t, h, w: (_ONE, 0.3 * t, _ZERO, _ZERO, _ONE, _ZERO)),
    "shear_y": _warp(lambda t, h, w: (_ONE, _ZERO, _ZERO, 0.3 * t, _ONE, _ZERO)),
    "translate_x": _warp(lambda t, h, w: (_ONE, _ZERO, (t * w * 150 / 331).round(), _ZERO, _ONE, _ZERO)),
    "translate_y": _warp(lambda t, h, w: (_ONE, _ZERO, _ZERO, _ZERO, _ONE, (t * h * 150 / 331).round())),
}


def _rotation(angle: Tensor) -> tuple[Tensor, ...]:
    cos, sin = angle.cos(), angle.sin()
    return cos, -sin, _ZERO, sin, cos, _ZERO
