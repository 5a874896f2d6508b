"""Augmentations of whole batches of images, each a function of the images and of random numbers handed to it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from structkd.datasets.images.image_set import Pixels
from structkd.datasets.images.resize import center_square, resized_crop
from structkd.errors import ConfigError, DataError


class ImageAugmentation:
    """Base: uint8 images in, uint8 images out, never in place.

    Attributes:
        draws: random numbers that an image takes; 0 for what is not random.
    """

    draws: int = 0

    def __call__(self, images: Pixels, u: Tensor) -> Tensor:
        """[B, 3, h, w] of `images` [B, 3, H, W] or a list of [3, H, W], and `u` [B, draws] from 0, below 1."""
        raise NotImplementedError


def stacked(images: Pixels) -> Tensor:
    """[B, 3, H, W]; `DataError` where sizes differ."""
    if isinstance(images, Tensor):
        return images
    if len(sizes := {(image.size(2), image.size(1)) for image in images}) > 1:
        found = ", ".join(f"{width}x{height}" for width, height in sorted(sizes)[:3])
        raise DataError(
            f"A batch holds images of different sizes ({found}, ...). Bring them to one first: RandomResizedCrop in "
            "training, CenterCrop in evaluation, or size=... of the dataset."
        )
    return torch.stack(images)


class RandomCrop(ImageAugmentation):
    """A window of the image's own size, out of the image with a black border: CIFAR's usual augmentation.

    Args:
        padding: width of the border in pixels.
    """

    draws = 2

    def __init__(self, padding: int = 4) -> None:
        if padding < 1:
            raise ConfigError(f"RandomCrop(padding={padding}): expected at least 1 pixel.")
        self.padding = padding

    def __call__(self, images: Pixels, u: Tensor) -> Tensor:
        images = stacked(images)
        height, width = images.shape[2:]
        top, left = (u * (2 * self.padding + 1)).long().unbind(1)
        windows = F.pad(images, (self.padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
        return windows[torch.arange(len(images)), :, top, left]


class HorizontalFlip(ImageAugmentation):
    """Left and right exchanged.

    Args:
        p: probability.
    """

    draws = 1

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ConfigError(f"HorizontalFlip(p={p}): expected a probability.")
        self.p = p

    def __call__(self, images: Pixels, u: Tensor) -> Tensor:
        flipped = stacked(images).clone()
        chosen = u[:, 0] < self.p
        flipped[chosen] = flipped[chosen].flip(3)
        return flipped


class RandomResizedCrop(ImageAugmentation):
    """A rectangle of random area, shape and place, brought to size x size: ImageNet's usual augmentation.

    Ten rectangles are tried; where none fits into the image, the largest of an allowed shape in its middle is taken.

    Args:
        size: side of the result in pixels.
        scale: smallest and largest area of the rectangle, as a share of the image's.
        ratio: smallest and largest width over height; its logarithm is uniform.

    Source: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015 (arXiv:1409.4842), section 6; defaults and the
    rule for rectangles that do not fit are torchvision's.
    """

    TRIES = 10
    draws = 4 * TRIES

    def __init__(
        self, size: int, scale: Sequence[float] = (0.08, 1.0), ratio: Sequence[float] = (3 / 4, 4 / 3)
    ) -> None:
        if size < 1 or not 0 < scale[0] <= scale[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
            raise ConfigError(
                f"RandomResizedCrop(size={size}, scale={list(scale)}, ratio={list(ratio)}) is impossible."
            )
        self.size, self.scale, self.ratio = size, tuple(scale), tuple(ratio)

    def __call__(self, images: Pixels, u: Tensor) -> Tensor:
        boxes = self.boxes(torch.tensor([image.shape[1:] for image in images]).view(-1, 2), u).tolist()
        size = (self.size, self.size)
        cut = [resized_crop(image, box, size) for image, box in zip(images, boxes, strict=True)]
        return torch.stack(cut) if cut else torch.empty(0, 3, *size, dtype=torch.uint8)

    def boxes(self, sizes: Tensor, u: Tensor) -> Tensor:
        """[B, 4] int64 top, left, height, width of images of `sizes` [B, 2] (height, width), from `u` [B, 40]."""
        area, shape, top, left = u.view(-1, self.TRIES, 4).unbind(2)
        high, wide = sizes.double().unsqueeze(2).unbind(1)
        area = (self.scale[0] + area * (self.scale[1] - self.scale[0])) * high * wide
        low, up = (math.log(ratio) for ratio in self.ratio)
        ratio = torch.exp(low + shape * (up - low))
        h, w = (area / ratio).sqrt().round(), (area * ratio).sqrt().round()
        fits = (h >= 1) & (h <= high) & (w >= 1) & (w <= wide)
        boxes = torch.stack([(top * (high - h + 1)).floor(), (left * (wide - w + 1)).floor(), h, w], 2)
        first = fits.long().argmax(1)
        chosen = boxes[torch.arange(len(sizes)), first]
        return torch.where(fits.any(1, keepdim=True), chosen, self._middle(sizes.double())).long()

    def _middle(self, sizes: Tensor) -> Tensor:
        high, wide = sizes.unbind(1)
        h = torch.minimum(high, (wide / self.ratio[0]).round()).clamp(min=1)
        w = torch.minimum(wide, (high * self.ratio[1]).round()).clamp(min=1)
        return torch.stack([((high - h) / 2).floor(), ((wide - w) / 2).floor(), h, w], 1)


class CenterCrop(ImageAugmentation):
    """The middle size x size of images whose shorter side is scaled to `resize`: ImageNet's usual evaluation.

    Args:
        size: side of the result in pixels.
        resize: shorter side before the cut, default `size`; 256 for a size of 224 is usual.
    """

    def __init__(self, size: int, resize: int | None = None) -> None:
        self.size, self.resize = size, size if resize is None else resize
        if not 1 <= size <= self.resize:
            raise ConfigError(f"CenterCrop(size={size}, resize={resize}): expected 1 <= size <= resize.")

    def __call__(self, images: Pixels, u: Tensor) -> Tensor:
        return torch.stack([center_square(image, self.size, self.resize) for image in images])
