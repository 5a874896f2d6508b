"""Overlap of turned rectangles, pair by pair in registers, and suppression as a matrix of bits."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from structkd.ops.triton.launch import start

BLOCK = 128


@triton.jit
def edge_area(x0, y0, x1, y1, hx, hy, TINY: tl.constexpr):
    """What the edge from (x0, y0) to (x1, y1) adds to the area: see `rotated_intersection`."""
    run = x1 - x0
    rise = y1 - y0
    run = tl.where(tl.abs(run) > TINY, run, 1.0)
    left = tl.minimum(tl.maximum(x0, -hx), hx)
    right = tl.minimum(tl.maximum(x1, -hx), hx)
    first = y0 + (left - x0) / run * rise
    last = y1 + (right - x1) / run * rise
    low = tl.minimum(tl.maximum(first, -hy), hy)
    high = tl.minimum(tl.maximum(last, -hy), hy)
    rise = tl.abs(last - first)
    rise = tl.where(rise > TINY, rise, 1.0)
    mean = (low + high + (low - high) / rise * (tl.abs(first - low) - tl.abs(last - high))) / 2
    return (left - right) * mean


@triton.jit
def shared_area(xa, ya, la, wa, ta, xb, yb, lb, wb, tb, TINY: tl.constexpr, ROUNDING: tl.constexpr):
    """Area that rectangles a and b share; all in float64, shapes that broadcast."""
    la = tl.maximum(la, 0.0) / 2
    wa = tl.maximum(wa, 0.0) / 2
    hx = tl.maximum(lb, 0.0) / 2
    hy = tl.maximum(wb, 0.0) / 2
    dx = xa - xb
    dy = ya - yb
    cos = tl.cos(tb)
    sin = tl.sin(tb)
    turn = ta - tb
    turn_cos = tl.cos(turn)
    turn_sin = tl.sin(turn)
    mx = dx * cos + dy * sin
    my = dy * cos - dx * sin
    ax = la * turn_cos
    ay = la * turn_sin
    bx = wa * turn_sin
    by = wa * turn_cos
    x0 = mx + ax - bx
    y0 = my + ay + by
    x1 = mx - ax - bx
    y1 = my - ay + by
    x2 = mx - ax + bx
    y2 = my - ay - by
    x3 = mx + ax + bx
    y3 = my + ay - by
    area = edge_area(x0, y0, x1, y1, hx, hy, TINY) + edge_area(x1, y1, x2, y2, hx, hy, TINY)
    area += edge_area(x2, y2, x3, y3, hx, hy, TINY) + edge_area(x3, y3, x0, y0, hx, hy, TINY)
    area = tl.where(area > ROUNDING * (la * la + wa * wa + hx * hx + hy * hy), area, 0.0)
    return tl.minimum(area, 4 * tl.minimum(la * wa, hx * hy))


@triton.jit
def intersection_kernel(a, b, out, pairs, TINY: tl.constexpr, ROUNDING: tl.constexpr, BLOCK_E: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK_E + tl.arange(0, BLOCK_E)
    here = i < pairs
    u = a + i * 5
    v = b + i * 5
    area = shared_area(
        tl.load(u, mask=here, other=0), tl.load(u + 1, mask=here, other=0), tl.load(u + 2, mask=here, other=0),
        tl.load(u + 3, mask=here, other=0), tl.load(u + 4, mask=here, other=0),
        tl.load(v, mask=here, other=0), tl.load(v + 1, mask=here, other=0), tl.load(v + 2, mask=here, other=0),
        tl.load(v + 3, mask=here, other=0), tl.load(v + 4, mask=here, other=0), TINY, ROUNDING,
    )  # fmt: skip
    tl.store(out + i, area, mask=here)


def intersections(a: Tensor, b: Tensor, tiny: float, rounding: float) -> Tensor:
    """Areas [P] that aligned pairs [P, 5] share, in float64."""
    a, b = a.contiguous(), b.contiguous()
    out = a.new_empty(a.size(0))
    start(
        intersection_kernel, (triton.cdiv(a.size(0), BLOCK),), a,
        a, b, out, a.size(0), TINY=tiny, ROUNDING=rounding, BLOCK_E=BLOCK, num_warps=4,
    )  # fmt: skip
    return out
