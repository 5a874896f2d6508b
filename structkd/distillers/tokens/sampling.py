"""The same few tokens of every image, of both sides."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from structkd.distillers.features.pairs import paired_features
from structkd.errors import DataError
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
            none of them. `mask_map` [B, h', w'] bool of the student, read at the nearest cell, says which tokens of its
            map count (True) and may be drawn, `mask` [N] which rows.
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
    visible = torch.arange(images * cells, device=f_s.device)
    mask = student.get("mask_map")
    if mask is not None:
        if mask.dim() != 3 or len(mask) != images:
            raise DataError(f"{reader}: mask_map has shape {list(mask.shape)}; expected [B={images}, h, w].")
        height, width = f_s.shape[-2:]
        visible = visible[F.interpolate(mask[:, None].float(), (height, width), mode="nearest").bool().flatten()]
    image = visible.div(max(cells, 1), rounding_mode="floor")
    rows = draw(image, most, generator)
    image, cell = image[rows], visible[rows] % max(cells, 1)
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
