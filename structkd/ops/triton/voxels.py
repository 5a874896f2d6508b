"""Which cell each point is in, in one pass over the points."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from structkd.ops.triton.launch import rows_of, start

BLOCK = 512


@triton.jit
def cell_kernel(
    points, batch, low, size, out, P, stride, depth, height, width, DOUBLE: tl.constexpr, BLOCK_E: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK_E + tl.arange(0, BLOCK_E)
    here = i < P
    scene = tl.load(batch + i, mask=here, other=0).to(tl.int64)
    x = tl.load(points + i * stride, mask=here, other=0) - tl.load(low)
    y = tl.load(points + i * stride + 1, mask=here, other=0) - tl.load(low + 1)
    z = tl.load(points + i * stride + 2, mask=here, other=0) - tl.load(low + 2)
    # Rounded as IEEE has it, or points on a border would change cells.
    if DOUBLE:
        x = tl.floor(x / tl.load(size))
        y = tl.floor(y / tl.load(size + 1))
        z = tl.floor(z / tl.load(size + 2))
    else:
        x = tl.floor(tl.div_rn(x, tl.zeros([BLOCK_E], dtype=tl.float32) + tl.load(size)))
        y = tl.floor(tl.div_rn(y, tl.zeros([BLOCK_E], dtype=tl.float32) + tl.load(size + 1)))
        z = tl.floor(tl.div_rn(z, tl.zeros([BLOCK_E], dtype=tl.float32) + tl.load(size + 2)))
    # NaN is nowhere, for it compares as false.
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (z >= 0) & (z < depth)
    x = tl.where(inside, x, 0).to(tl.int64)
    y = tl.where(inside, y, 0).to(tl.int64)
    z = tl.where(inside, z, 0).to(tl.int64)
    cell = ((scene * depth + z) * height + y) * width + x
    tl.store(out + i, tl.where(inside, cell, -1), mask=here)


def cells(points: Tensor, batch: Tensor, low: Tensor, size: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """[P] int64 linear cell of each point, -1 outside; `low` and `size` [3] in the dtype of the points."""
    points, batch, low, size = rows_of(points), batch.contiguous(), low.contiguous(), size.contiguous()
    out = torch.empty(points.size(0), dtype=torch.int64, device=points.device)
    start(
        cell_kernel, (triton.cdiv(points.size(0), BLOCK),), points,
        points, batch, low, size, out, points.size(0), points.stride(0), *grid,
        DOUBLE=points.dtype == torch.float64, BLOCK_E=BLOCK, num_warps=4,
    )  # fmt: skip
    return out
