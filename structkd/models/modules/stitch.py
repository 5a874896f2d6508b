"""Stitches: what joins modules of different widths and layouts."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from structkd.errors import ConfigError, WiringError
from structkd.models.modules.view import Boundary

KINDS = ("norm", "linear", "none")


class Stitch(nn.Module):
    """A linear map of every token or cell from one width to another, after a norm on request.

    Tokens join tokens one to one, and vectors vectors. Wherever a map is on one side, both sides are read as grids of
    cells: T tokens are h rows of w, of the map's proportions. A grid that is r times finer each way is read as a patch
    embedding reads an image (r x r cells become one), one that is r times coarser the other way round (a cell becomes
    r x r); between sizes that are no multiples of each other cells are mapped one by one and resized (bilinear).

    Args:
        before, after: what comes in and what must go out, in shapes without the batch: (N, C), (C, h, w) or (C,).
        kind: "norm" is a norm and a linear map (m2mKD's for V-MoE), "linear" the map alone (theirs for attentive
            circuits), "none" no weights, for equal widths (grids are resized). The norm is a LayerNorm; of maps a group
            norm with one group.

    Raises:
        ConfigError: an unknown kind, or "none" between different widths.
        WiringError: different numbers of tokens; a vector and something else; tokens that are no grid of the map's
            proportions (those of a class token are not: a transformer with `pool="mean"` and no registers has none).

    Differences: the paper and its authors' code join transformers alone, so tokens and tokens.
    """

    def __init__(self, before: Boundary, after: Boundary, kind: str = "norm") -> None:
        super().__init__()
        if kind not in KINDS:
            raise ConfigError(f"stitch='{kind}' is unknown. Available: {', '.join(KINDS)}.")
        if kind == "none" and before.channels != after.channels:
            raise ConfigError(f"stitch='none' joins equal widths, not {before.channels} and {after.channels} channels.")
        if before.channels_last or after.channels_last:
            raise WiringError(
                f"A stitch joins maps (C, h, w), not ones with channels last: {before.shape}, {after.shape}."
            )
        grids = _grids(before, after)
        self.size = None if grids is None else grids[1]
        self.unflatten = None if grids is None or before.is_map else grids[0]
        self.flatten = grids is not None and not after.is_map
        self.norm: nn.Module = nn.Identity()
        self.proj: nn.Module = nn.Identity()
        if kind == "norm":
            self.norm = nn.GroupNorm(1, before.channels) if before.is_map else nn.LayerNorm(before.channels, eps=1e-6)
        if kind != "none" and grids is None:
            self.proj = nn.Linear(before.channels, after.channels)
        elif kind != "none" and grids is not None:
            self.proj = _between(before.channels, after.channels, *grids)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        if self.unflatten is not None:
            x = x.transpose(1, 2).unflatten(2, self.unflatten)
        x = self.proj(x)
        if self.size is not None and x.shape[2:] != self.size:
            x = F.interpolate(x, self.size, mode="bilinear", align_corners=False)
        return x.flatten(2).transpose(1, 2) if self.flatten else x


def _between(before: int, after: int, size: tuple[int, int], wanted: tuple[int, int]) -> nn.Module:
    """The linear map from `before` to `after` channels, from a grid of `size` to the `wanted` one where it can."""
    finer, coarser = _times(size, wanted), _times(wanted, size)
    if coarser > 1:
        return nn.ConvTranspose2d(before, after, coarser, coarser)
    return nn.Conv2d(before, after, finer or 1, finer or 1)


def _times(size: tuple[int, int], other: tuple[int, int]) -> int:
    """How many times finer a grid of `size` is than the other, each way; 0 where that is no whole number."""
    times = size[0] // other[0]
    return times if size == (other[0] * times, other[1] * times) else 0


def _grids(before: Boundary, after: Boundary) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Rows and columns of both sides; None where no map is among them."""
    if not before.is_map and not after.is_map:
        if len(before.shape) != len(after.shape) or before.shape[:-1] != after.shape[:-1]:
            raise _misfit(before, after, "equally many tokens")
        return None
    first, second = _grid(before, after), _grid(after, before)
    if first is None or second is None:
        raise _misfit(before, after, "a map and a map, or tokens that are a grid of the map's proportions")
    return first, second


def _grid(boundary: Boundary, other: Boundary) -> tuple[int, int] | None:
    """Rows and columns of a map, or of tokens that lie like the cells of the `other`; None where they cannot."""
    if boundary.is_map:
        return boundary.shape[1], boundary.shape[2]
    height, width = other.shape[1:]  # of a map
    tokens = boundary.shape[0] if len(boundary.shape) == 2 else 0
    rows = math.isqrt(tokens * height // width)
    columns = tokens // rows if rows else 0
    return (rows, columns) if rows and rows * columns == tokens and rows * width == columns * height else None


def _misfit(before: Boundary, after: Boundary, expected: str) -> WiringError:
    return WiringError(
        f"A stitch cannot turn {before.shape} into {after.shape} (shapes without the batch; tokens are (N, C), maps "
        f"(C, h, w), vectors (C,)): expected {expected}."
    )
