"""What a tapped tensor is: a map with channels first or last, the tokens of a transformer, or a vector."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structkd.errors import WiringError


def owner(model: nn.Module, path: str, attribute: str) -> Any:
    """`attribute` of the innermost module around `path` that has it (not None); None where no module has."""
    values = (getattr(module, attribute, None) for module in _around(model, path))
    return next((value for value in values if value is not None), None)


def has_class_token(model: nn.Module, path: str) -> bool | None:
    """Whether the first of the tokens at `path` is a class token; None where no module around it says.

    timm's ViTs and ours say it by `has_class_token`, timm's Eva family only by a `cls_token` that is None.
    """
    told = owner(model, path, "has_class_token")
    if told is None:
        tokens = [module.cls_token for module in _around(model, path) if hasattr(module, "cls_token")]
        return False if tokens and tokens[0] is None else None
    return bool(told)


def as_map(
    x: Tensor,
    image_size: tuple[int, int],
    prefix: int = 0,
    grid: tuple[int, int] | None = None,
    channels_last: bool | None = None,
) -> Tensor:
    """Any of the three layouts as a map.

    Args:
        x: [B, C, h, w], [B, h, w, C], or tokens [B, P + T, C].
        image_size: H, W in pixels; cells are taken to be squares of them, so h : w is about H : W.
        prefix: P, tokens that are no patches.
        grid: (h, w) of the patch tokens; default: the one of the image's proportions.
        channels_last: whether four dimensions are [B, h, w, C]; default: what the proportions tell.

    Returns:
        [B, C, h, w], a view.

    Raises:
        WiringError: another number of dimensions, proportions that fit neither layout, tokens that fill no grid.
    """
    if x.dim() == 4:
        last = _is_channels_last(x.shape, image_size) if channels_last is None else channels_last
        return x.permute(0, 3, 1, 2) if last else x
    if x.dim() != 3:
        raise WiringError(
            f"the output has shape {tuple(x.shape)}; a map is read from [B, C, h, w], [B, h, w, C] or tokens "
            "[B, P + T, C]."
        )
    count = x.size(1) - prefix
    cells = token_grid(count, image_size) if grid is None else grid
    if cells is None or cells[0] * cells[1] != count:
        expected = (
            f"a grid on images of {image_size[0]} x {image_size[1]} pixels" if grid is None else f"the grid {grid}"
        )
        raise WiringError(
            f"the output has shape {tuple(x.shape)}; after {prefix} prefix tokens {count} are left, which do not fill "
            f"{expected}. Give prefix_tokens or grid."
        )
    return x[:, prefix:].transpose(1, 2).unflatten(2, cells)


def as_vector(x: Tensor, prefix: int = 0, class_token: bool | None = None) -> Tensor:
    """[B, C]: as it is, of a map of one cell, or of tokens with P > 0 the first (class) one; else a `WiringError`.

    Args:
        class_token: False: the model has none, and its prefix tokens are registers, which are nobody's vector. None:
            unknown; prefix tokens are taken to begin with one.
    """
    if x.dim() == 2:
        return x
    if x.dim() == 4 and x.size(2) == x.size(3) == 1:
        return x.flatten(1)
    if x.dim() == 3 and class_token is False:
        raise WiringError(
            f"the output has shape {tuple(x.shape)}, and the model has no class token; tap the pooling instead."
        )
    if x.dim() == 3 and prefix > 0:
        return x[:, 0]
    raise WiringError(
        f"the output has shape {tuple(x.shape)} and {prefix} prefix tokens; a vector is read from [B, C], [B, C, 1, 1] "
        "or tokens [B, P + T, C] that begin with a class token. Tap the pooling."
    )


def as_prefix(x: Tensor, prefix: int) -> Tensor:
    """The first P of tokens [B, P + T, C]; a `WiringError` where there are none."""
    if x.dim() != 3 or not 0 < prefix <= x.size(1):
        raise WiringError(
            f"the output has shape {tuple(x.shape)} and {prefix} prefix tokens; expected tokens [B, P + T, C] with P "
            "of 1 or more."
        )
    return x[:, :prefix]


def as_rows(grid: Tensor, n_id: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
    """A map as rows, image by image and row by row.

    Args:
        grid: [B, C, h, w].
        n_id: [B] id of each image; default its place in the batch.
        mask: [B, h', w'] bool, read at the nearest cell.

    Returns:
        `x` [B h w, C], `pos` [B h w, 2] (row and column in cells, from 0), `batch` [B h w], `n_id` [B h w] (the image's
        id times h w, plus the cell's number), `image_id` [B] (the images' ids) and, with a mask, `mask` [B h w].
    """
    samples, _, height, width = grid.shape
    count, device = height * width, grid.device
    places = torch.cartesian_prod(torch.arange(height, device=device), torch.arange(width, device=device))
    ids = torch.arange(samples, device=device) if n_id is None else n_id
    rows = {
        "x": grid.flatten(2).transpose(1, 2).flatten(0, 1),
        "pos": places.to(torch.get_default_dtype()).repeat(samples, 1),
        "batch": torch.arange(samples, device=device).repeat_interleave(count),
        "n_id": (ids[:, None] * count + torch.arange(count, device=device)).flatten(),
        "image_id": ids,
    }
    if mask is not None:
        rows["mask"] = F.interpolate(mask[:, None].float(), (height, width), mode="nearest").bool().flatten()
    return rows


def token_grid(tokens: int, image_size: tuple[int, int]) -> tuple[int, int] | None:
    """Rows and columns of `tokens` squares that cover an image of H, W pixels; None where none do."""
    if tokens < 1:
        return None
    rows = round(math.sqrt(tokens * image_size[0] / image_size[1]))
    # Patches that do not divide the image are cut off or filled up, so rows : columns may be a little off H : W.
    for h in (rows, rows - 1, rows + 1):
        if h > 0 and tokens % h == 0 and _fits((h, tokens // h), image_size):
            return h, tokens // h
    return None


def _around(model: nn.Module, path: str) -> Iterator[nn.Module]:
    """The module at `path` and those around it, innermost first."""
    parts = path.split(".")
    for length in range(len(parts), -1, -1):
        yield model.get_submodule(".".join(parts[:length]))


def _fits(cells: tuple[int, int], image_size: tuple[int, int]) -> bool:
    """Whether squares of some size cover the image with that many cells each way, up to a partial one."""
    (h, w), (height, width) = cells, image_size
    if height == width:
        return h == w
    low = max(height / (h + 1), width / (w + 1))
    high = min(height / (h - 1) if h > 1 else math.inf, width / (w - 1) if w > 1 else math.inf)
    return low < high


def _is_channels_last(shape: tuple[int, ...], image_size: tuple[int, int]) -> bool:
    """Which two dimensions have the image's proportions; channels come first where both readings do."""
    first, last = _fits((shape[2], shape[3]), image_size), _fits((shape[1], shape[2]), image_size)
    if not first and not last:
        raise WiringError(
            f"the output has shape {tuple(shape)}, which neither as [B, C, h, w] nor as [B, h, w, C] has the "
            f"proportions of images with {image_size[0]} x {image_size[1]} pixels. Give channels_last."
        )
    return last and not first
