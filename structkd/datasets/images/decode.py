"""From the bytes of a picture to its pixels."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from structkd.datasets.images.resize import center_square
from structkd.datasets.images.tree import Tree
from structkd.errors import ConfigError, DataError, reason

#: Formats whose whole numbers are of 16 bits where Pillow widens them to mode I (PGM; PNG before Pillow 10.3).
SIXTEEN_BITS = ("PNG", "PPM")


def decode_image(content: bytes, where: str) -> Tensor:
    """uint8 [3, H, W] of a JPEG, PNG or other picture that Pillow knows; grey ones get three equal channels.

    Grey of 16 bits is scaled by 1 / 257, so that 65,535 becomes 255. The EXIF orientation is not applied, and
    transparent pixels show their colour.

    Args:
        where: the file it is from, for the error.

    Raises:
        DataError: no picture, one cut short, or one of whole numbers of 32 bits or of real numbers, whose black and
            white nothing tells. ConfigError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ConfigError("Pictures are decoded by Pillow: pip install pillow.") from error
    try:
        with Image.open(io.BytesIO(content)) as picture:
            mode = picture.mode
            wide = mode.startswith("I;16") or (mode == "I" and picture.format in SIXTEEN_BITS)
            pixels = np.array(picture if wide else picture.convert("RGB"))
    except Exception as error:  # a damaged picture can raise anything
        raise DataError(f"{where} is no readable picture ({reason(error)}): damaged, cut short or no image.") from error
    if wide:  # Pillow would cut off what is above 255
        pixels = np.rint(pixels / 257).astype(np.uint8)[:, :, None].repeat(3, 2)
    elif mode in ("I", "F"):
        kind = "real numbers" if mode == "F" else "whole numbers of 32 bits"
        raise DataError(
            f"{where} holds {kind} (Pillow's mode {mode}), of which nothing tells black and white; expected 8 bits a "
            "channel, or grey of 16 bits."
        )
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


class Pictures:
    """Row -> uint8 [3, H, W] of picture files; with `size`, the middle square, scaled to size x size.

    Args:
        tree: where the files are.
        names: of the files, row by row.
        size: side in pixels; None leaves pictures as they are.
    """

    def __init__(self, tree: Tree, names: Sequence[str], size: int | None = None) -> None:
        if size is not None and size < 1:
            raise ConfigError(f"size={size}: expected a side of at least 1 pixel.")
        self.tree, self.names, self.size = tree, tuple(names), size

    def __call__(self, row: int) -> Tensor:
        name = self.names[row]
        image = decode_image(self.tree.read(name), self.tree.where(name))
        return image if self.size is None else center_square(image, self.size, self.size)
