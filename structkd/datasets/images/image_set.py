"""A set of labelled images, held in memory or decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from structkd.datasets.progress import progress
from structkd.errors import DataError

#: Images of one size [B, 3, H, W], or one by one [3, H, W] where sizes may differ.
Pixels = Tensor | list[Tensor]
#: Images whose decoding takes so long that one wants to see it move.
LONG = 50_000


class ImageSet:
    """Images with their classes, each known by its row.

    Args:
        y: [N] int64 classes, -1 where the class is unknown.
        classes: names; a label is a place in them.
        source: uint8 pixels [N, 3, H, W] held in memory (red, green, blue), or a function row -> uint8 [3, H, W] that
            decodes one image.

    Attributes:
        pixels: [N, 3, H, W], or None where images are decoded when asked for.

    Raises:
        DataError: no image, shapes that do not fit, a label that is no class.
    """

    def __init__(self, y: Tensor, classes: Sequence[str], source: Tensor | Callable[[int], Tensor]) -> None:
        self.y, self.classes = y, tuple(classes)
        self.pixels = source if isinstance(source, Tensor) else None
        self._decode = source
        if y.dim() != 1 or y.dtype != torch.int64 or y.numel() == 0:
            raise DataError(f"An ImageSet got labels of shape {tuple(y.shape)}, {y.dtype}; expected int64 [N], N > 0.")
        if int(y.min()) < -1 or int(y.max()) >= len(self.classes):
            raise DataError(
                f"The labels go from {int(y.min())} to {int(y.max())}; with {len(self.classes)} classes they go from 0 "
                f"to {len(self.classes) - 1}, or are -1 (unknown)."
            )
        if self.pixels is not None:
            shape = tuple(self.pixels.shape)
            if self.pixels.dtype != torch.uint8 or len(shape) != 4 or shape[:2] != (y.numel(), 3):
                raise DataError(
                    f"An ImageSet of {y.numel()} labels got pixels {shape}, {self.pixels.dtype}; expected uint8 "
                    f"[{y.numel()}, 3, H, W]."
                )

    def __len__(self) -> int:
        return self.y.numel()

    def image(self, row: int) -> Tensor:
        """uint8 [3, H, W]."""
        return self._decode(row) if callable(self._decode) else self._decode[row]

    def batch(self, rows: Tensor) -> Pixels:
        """The images of `rows` [B]: uint8 [B, 3, H, W] where they are held, else a list of [3, H, W]."""
        return self.pixels[rows] if self.pixels is not None else [self.image(row) for row in rows.tolist()]

    def held(self) -> ImageSet:
        """The same set with every image decoded now.

        Raises:
            DataError: images of different sizes.
        """
        if self.pixels is not None:
            return self
        first = self.image(0)
        pixels = torch.empty(len(self), *first.shape, dtype=torch.uint8)
        for row in progress(range(len(self)), len(self), "Images decoded", show=len(self) >= LONG):
            image = self.image(row)
            if image.shape != first.shape:
                raise DataError(
                    f"Images 0 and {row} have the sizes {_size(first)} and {_size(image)}. Only images of one size are "
                    "held in memory: bring them to one (size=...), or decode them when they are asked for (hold=False)."
                )
            pixels[row] = image
        return ImageSet(self.y, self.classes, pixels)


def join(sets: Sequence[ImageSet], names: Sequence[str]) -> ImageSet:
    """Several sets as one, the rows of the first before those of the second.

    Args:
        names: of the sets, for the error.

    Raises:
        DataError: sets of different classes.
    """
    for other, name in zip(sets[1:], names[1:]):
        if other.classes != sets[0].classes:
            missing = [c for c in sets[0].classes if c not in other.classes]
            extra = [c for c in other.classes if c not in sets[0].classes]
            raise DataError(
                f"The splits '{names[0]}' and '{name}' name different classes: '{name}' lacks {missing[:5] or 'none'} "
                f"and has besides {extra[:5] or 'none'}" + ("." if missing or extra else ", in another order.")
            )
    y = torch.cat([each.y for each in sets])
    pixels = [each.pixels for each in sets if each.pixels is not None]
    if len(pixels) == len(sets) and len({each.shape[1:] for each in pixels}) == 1:
        return ImageSet(y, sets[0].classes, torch.cat(pixels))
    return ImageSet(y, sets[0].classes, _Joined(sets))


class _Joined:
    """Row -> image of sets that stay apart; a class, so that workers can be handed it."""

    def __init__(self, sets: Sequence[ImageSet]) -> None:
        self.sets = tuple(sets)

    def __call__(self, row: int) -> Tensor:
        for images in self.sets:
            if row < len(images):
                return images.image(row)
            row -= len(images)
        raise IndexError(row)


def _size(image: Tensor) -> str:
    return f"{image.size(2)}x{image.size(1)}"
