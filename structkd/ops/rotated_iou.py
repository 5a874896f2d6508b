"""Overlap of turned rectangles and of upright 3D boxes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from structkd.backends import Backend, Op
from structkd.ops.iou_2d import check_boxes, extent, over_union, overlap_1d
from structkd.ops.triton.launch import refusals

#: Pairs clipped at once. On the CPU the working arrays (4 edges, float64) then stay in the caches.
CHUNK = {"cpu": 1 << 13, "cuda": 1 << 20}
#: Distances of centres held at once while the pairs of a matrix that can meet are looked for.
BLOCK = 1 << 20
#: An area below this share of the squared radii is what rounding leaves of none.
ROUNDING = 1e-14
#: Below this an edge has no extent along an axis; keeps 0 / 0 out, and is far below anything that has an area.
TINY = 1e-100


@torch.no_grad()
def rotated_intersection(a: Tensor, b: Tensor, aligned: bool = False, *, backend: str | None = None) -> Tensor:
    r"""Area that two turned rectangles share.

    Green's theorem in the frame of `b`, where it is :math:`|x| \le h_x, |y| \le h_y`: the area is
    :math:`-\oint \mathrm{clamp}(y, -h_y, h_y) \, dx` along those parts of the border of `a` that have
    :math:`|x| \le h_x`. Each of the four edges has a closed form that is continuous in the corners, so nothing is
    decided by comparing rounded numbers: identical, turned, touching and nested rectangles are exact to rounding like
    all others, where clippers that look for crossing points need tolerances. Each pair is recentred and computed in
    float64.

    Args:
        a: [N, 5] rectangles x, y, l, w, yaw: centre, length along the heading, width across it (one unit, say metres)
            and the heading in radians, counter-clockwise from x. A size of 0 or less is an empty rectangle.
        b: [M, 5] rectangles; M = N if `aligned`.
        aligned: pair row i with row i, instead of every row with every row.
        backend: forces a backend, see `structkd.backends`.

    Returns:
        [N, M] areas, or [N] if aligned, in the dtype of the inputs; without a gradient.

    Raises:
        DataError: shapes that do not fit.
    """
    check_boxes(a, b, aligned, columns=5)
    a, b, dtype = _in_float64(a, b)
    if aligned:
        return ROTATED_INTERSECTION(a, b, backend=backend).to(dtype)
    area = a.new_zeros(a.size(0), b.size(0), dtype=dtype)
    for i, j in near_pairs(a, b):
        area[i, j] = ROTATED_INTERSECTION(a[i], b[j], backend=backend).to(dtype)
    return area


@torch.no_grad()
def rotated_iou(a: Tensor, b: Tensor, aligned: bool = False, *, backend: str | None = None) -> Tensor:
    """Intersection over union of turned rectangles; takes and returns what `rotated_intersection` does.

    0 where both rectangles are empty.
    """
    check_boxes(a, b, aligned, columns=5)
    a, b, dtype = _in_float64(a, b)
    shared = rotated_intersection(a, b, aligned, backend=backend)
    return over_union(shared, extent(a[:, 2:4]), extent(b[:, 2:4]), aligned).to(dtype)


@torch.no_grad()
def iou_3d(a: Tensor, b: Tensor, aligned: bool = False, *, backend: str | None = None) -> Tensor:
    """Intersection over union of upright boxes that are turned about the vertical.

    Args:
        a: [N, 7] boxes x, y, z, l, w, h, yaw in the LiDAR frame (z up): (x, y, z) is the centre of the BOTTOM face.
        b: [M, 7] boxes; M = N if `aligned`.
        aligned, backend: as in `rotated_intersection`.

    Returns:
        [N, M], or [N] if aligned, in the dtype of the inputs; 0 where both boxes are empty.
    """
    check_boxes(a, b, aligned, columns=7)
    a, b, dtype = _in_float64(a, b)
    plane = [0, 1, 3, 4, 6]
    shared = rotated_intersection(a[:, plane], b[:, plane], aligned, backend=backend)
    spans_a, spans_b = (torch.stack([boxes[:, 2], boxes[:, 2] + boxes[:, 5]], 1) for boxes in (a, b))
    if not aligned:
        spans_a, spans_b = spans_a[:, None], spans_b[None]
    shared = shared * overlap_1d(spans_a, spans_b, 0, 1)
    return over_union(shared, extent(a[:, 3:6]), extent(b[:, 3:6]), aligned).to(dtype)


def near_pairs(a: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The pairs (row of `a`, row of `b`) whose circumscribed circles meet, block by block: no N x M is held."""
    radius_a, radius_b = _radius(a), _radius(b)
    rows = max(1, BLOCK // max(b.size(0), 1))
    for start in range(0, a.size(0), rows):
        block = slice(start, start + rows)
        distance = (a[block, 0, None] - b[:, 0]).square_().add_((a[block, 1, None] - b[:, 1]).square_())
        i, j = (distance < (radius_a[block, None] + radius_b).square_()).nonzero(as_tuple=True)
        yield i + start, j


def _in_float64(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, torch.dtype]:
    """Both in float64, and the dtype that results go out in."""
    dtype = torch.promote_types(a.dtype, b.dtype)
    return a.double(), b.double(), dtype if dtype.is_floating_point else torch.get_default_dtype()


def _radius(boxes: Tensor) -> Tensor:
    return boxes[:, 2:4].clamp_min(0).norm(dim=1) / 2


def _reference(a: Tensor, b: Tensor) -> Tensor:
    """Aligned pairs [P, 5] in float64; only those whose circumscribed circles meet are clipped."""
    distance = (a[:, :2] - b[:, :2]).square_().sum(1)
    near = (distance < (_radius(a) + _radius(b)).square_()).nonzero().squeeze(1)
    area = a.new_zeros(a.size(0))
    for chunk in near.split(CHUNK.get(a.device.type, CHUNK["cuda"])):
        area[chunk] = _clip(a[chunk], b[chunk])
    return area


def _clip(a: Tensor, b: Tensor) -> Tensor:
    xa, ya, la, wa, yaw_a = a.unbind(1)
    xb, yb, lb, wb, yaw_b = b.unbind(1)
    la, wa, hx, hy = (size.clamp_min(0) / 2 for size in (la, wa, lb, wb))

    # Corners of a, counter-clockwise [4, P], in the frame of b: recentred on it and turned against it.
    dx, dy, cos, sin = xa - xb, ya - yb, yaw_b.cos(), yaw_b.sin()
    turn_cos, turn_sin = (yaw_a - yaw_b).cos(), (yaw_a - yaw_b).sin()
    along, across = torch.stack([la, -la, -la, la]), torch.stack([wa, wa, -wa, -wa])
    x0 = dx * cos + dy * sin + along * turn_cos - across * turn_sin
    y0 = dy * cos - dx * sin + along * turn_sin + across * turn_cos
    x1, y1 = x0.roll(-1, 0), y0.roll(-1, 0)

    # Each edge between x = -hx and hx: the fractions cut off at its two ends move y along the edge.
    run, rise = x1 - x0, y1 - y0
    run = torch.where(run.abs() > TINY, run, 1)
    left, right = torch.clamp(x0, -hx, hx), torch.clamp(x1, -hx, hx)
    start, end = y0 + (left - x0) / run * rise, y1 + (right - x1) / run * rise

    # Mean of clamp(y) from start to end: outside of the slab the clamped value is constant, inside it is linear.
    low, high = torch.clamp(start, -hy, hy), torch.clamp(end, -hy, hy)
    rise = (end - start).abs()
    rise = torch.where(rise > TINY, rise, 1)
    mean = (low + high + (low - high) / rise * ((start - low).abs() - (end - high).abs())) / 2
    area = ((left - right) * mean).sum(0)
    area = torch.where(area > ROUNDING * (la**2 + wa**2 + hx**2 + hy**2), area, 0)
    return torch.minimum(area, 4 * torch.minimum(la * wa, hx * hy))


def _triton(a: Tensor, b: Tensor) -> Tensor:
    from structkd.ops.triton.rotated_iou import intersections

    return intersections(a, b, TINY, ROUNDING)


#: Areas [P] of aligned pairs [P, 5], [P, 5] in float64: all that a backend has to provide.
ROTATED_INTERSECTION = Op(
    "rotated_intersection", [Backend("triton", _triton, refusals), Backend("reference", _reference)]
)
