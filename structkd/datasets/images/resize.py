"""Cutting a rectangle out of an image and bringing it to a size."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def resized_crop(image: Tensor, box: tuple[int, int, int, int], size: tuple[int, int]) -> Tensor:
    """uint8 [3, h, w] of the rectangle `box` (top, left, height, width) of an image uint8 [3, H, W].

    Bilinear, smoothed where it shrinks; a box of the right size is cut out as it is.
    """
    top, left, height, width = box
    part = image[:, top : top + height, left : left + width]
    if (height, width) == size:
        return part
    return F.interpolate(part[None], size, mode="bilinear", align_corners=False, antialias=True)[0]


def center_square(image: Tensor, size: int, shorter: int) -> Tensor:
    """uint8 [3, size, size]: the middle of an image whose shorter side is scaled to `shorter` >= `size`."""
    height, width = image.shape[1:]
    scale = shorter / min(height, width)
    scaled = (max(size, round(height * scale)), max(size, round(width * scale)))
    image = resized_crop(image, (0, 0, height, width), scaled)
    top, left = ((side - size) // 2 for side in scaled)
    return image[:, top : top + size, left : left + size]
