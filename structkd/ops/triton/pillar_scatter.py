"""Rows of cells into a dense map of any layout, and back."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from structkd.ops.triton.launch import rows_of, start, tile_of

WIDE = 128


@triton.jit
def pillar_kernel(
    x, coords, canvas, cells, C, depth,
    stride_x, stride_coords, stride_b, stride_c, stride_h, stride_w,
    TO_CANVAS: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    v = tl.program_id(0).to(tl.int64) * BLOCK_E + tl.arange(0, BLOCK_E)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    known = v < cells
    at = coords + v * stride_coords
    scene = tl.load(at, mask=known, other=0).to(tl.int64)
    z = tl.load(at + 1, mask=known, other=0).to(tl.int64)
    row = tl.load(at + 2, mask=known, other=0).to(tl.int64)
    column = tl.load(at + 3, mask=known, other=0).to(tl.int64)
    channel = c.to(tl.int64)[None, :] * depth + z[:, None]
    place = canvas + (scene * stride_b + row * stride_h + column * stride_w)[:, None] + channel * stride_c
    inside = known[:, None] & (c[None, :] < C)
    own = x + v[:, None] * stride_x + c[None, :]
    if TO_CANVAS:
        tl.store(place, tl.load(own, mask=inside, other=0), mask=inside)
    else:
        tl.store(own, tl.load(place, mask=inside, other=0), mask=inside)


def _start(x: Tensor, coords: Tensor, canvas: Tensor, depth: int, to_canvas: bool) -> None:
    coords = rows_of(coords)
    tile = tile_of(min(x.size(1), WIDE))
    start(
        pillar_kernel, (triton.cdiv(x.size(0), tile["BLOCK_E"]), triton.cdiv(x.size(1), tile["BLOCK_C"])), x,
        x, coords, canvas, x.size(0), x.size(1), depth,
        x.stride(0), coords.stride(0), *canvas.stride(), TO_CANVAS=to_canvas, **tile,
    )  # fmt: skip


def put(x: Tensor, coords: Tensor, num_scenes: int, grid: tuple[int, int, int]) -> Tensor:
    """Map [B, C*D, H, W] in torch's channels_last layout, zero where there is no cell."""
    depth, height, width = grid
    shape = (num_scenes, height, width, x.size(1) * depth)
    canvas = x.new_zeros(shape).permute(0, 3, 1, 2)
    _start(rows_of(x), coords, canvas, depth, to_canvas=True)
    return canvas


def take(canvas: Tensor, coords: Tensor, channels: int, depth: int) -> Tensor:
    """Rows [V, C] of a map of any strides."""
    x = canvas.new_empty(coords.size(0), channels)
    _start(x, coords, canvas, depth, to_canvas=False)
    return x
