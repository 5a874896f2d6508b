"""The same few tokens of every image, of both sides."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from structkd.distillers.features.pairs import paired_features
from structkd.structure import Structure


class Tokens(NamedTuple):
    """Tokens of a batch of images.

    Attributes:
        student, teacher: [M, C_s] and [M, C_t] features; row i of both is the same place of the same image.
        batch: [M] int64 image of each, ascending.
    """

    student: Tensor
    teacher: Tensor
    batch: Tensor


def sampled_tokens(
    student: Structure, teacher: Structure, field: str, most: int, generator: torch.Generator, reader: str
) -> Tokens:
    """Draw tokens of each image uniformly without replacement, in the order of their places.

    Args:
        student, teacher: both with the `field`: a map [B, C, h, w], one token a cell (the teacher's is resized to the
            student's grid first), or rows [N, C] with `batch` [N] (absent: one image). Class and register tokens are
            none of them. `mask_map` [B, h', w'] bool of either side, read at the nearest cell, says which tokens of the
            map count (True) and may be drawn, `mask` [N] of the student which rows.
        most: tokens of an image, or as many as it has.
        generator: on the CPU. The draws are the same on any device.
        reader: name of the distiller, for errors.

    Raises:
        DataError: sides that do not fit (see `paired_features`), a `mask_map` of other images.
    """
    f_s, f_t, batch = paired_features(student, teacher, field, reader)
    if batch is not None:
        rows = draw(batch, most, generator)
        return Tokens(f_s[rows], f_t[rows], batch[rows])
    images, cells = f_s.size(0), f_s.size(2) * f_s.size(3)
    image = torch.arange(images, device=f_s.device).repeat_interleave(cells)
    rows = draw(image, most, generator)
    image, cell = image[rows], rows % max(cells, 1)
    x_s, x_t = (f.flatten(2)[image, :, cell] for f in (f_s, f_t))
    return Tokens(x_s, x_t, image)


def draw(batch: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Rows of up to `most` elements of each sample, ascending.

    Args:
        batch: [N] int64 sample of each element, ascending.
    """
    n = batch.numel()
    if not n:
        return batch
    order = torch.randperm(n, generator=generator).to(batch.device)
    order = order[batch[order].argsort(stable=True)]
    count = torch.bincount(batch)
    rank = torch.arange(n, device=batch.device) - (count.cumsum(0) - count)[batch]
    return order[rank < most].sort().values
