import math

import pytest
import torch
from mmcv_ops.polygons import diff_iou_rotated_sort_vertices_forward

from structkd.ops.rotated_iou import rotated_intersection


def corners(box):
    x, y, w, h, a = box.tolist()
    out = []
    for u, v in ((w / 2, h / 2), (-w / 2, h / 2), (-w / 2, -h / 2), (w / 2, -h / 2)):
        out.append((x + u * math.cos(a) - v * math.sin(a), y + u * math.sin(a) + v * math.cos(a)))
    return out


def holds(box, point):
    x, y, w, h, a = box.tolist()
    dx, dy = point[0] - x, point[1] - y
    u, v = dx * math.cos(a) + dy * math.sin(a), dy * math.cos(a) - dx * math.sin(a)
    return abs(u) <= w / 2 + 1e-9 and abs(v) <= h / 2 + 1e-9


def crossing(a, b, c, d):
    r, s = (b[0] - a[0], b[1] - a[1]), (d[0] - c[0], d[1] - c[1])
    cross = r[0] * s[1] - r[1] * s[0]
    if cross == 0:
        return None
    t = ((c[0] - a[0]) * s[1] - (c[1] - a[1]) * s[0]) / cross
    u = ((c[0] - a[0]) * r[1] - (c[1] - a[1]) * r[0]) / cross
    return (a[0] + t * r[0], a[1] + t * r[1]) if 0 < t < 1 and 0 < u < 1 else None


def candidates(a, b):
    """[24, 2] and [24] as `mmcv.ops.diff_iou_rotated` lists them."""
    p, q = corners(a), corners(b)
    found = [point if holds(b, point) else None for point in p] + [point if holds(a, point) else None for point in q]
    found += [crossing(p[i], p[(i + 1) % 4], q[j], q[(j + 1) % 4]) for i in range(4) for j in range(4)]
    corner = p + q
    points = [point or (corner[k] if k < 8 else (0, 0)) for k, point in enumerate(found)]
    return torch.tensor(points).double(), torch.tensor([point is not None for point in found])


def area(a, b):
    points, mask = candidates(a, b)
    mean = points[mask].mean(0) if mask.any() else 0
    index = diff_iou_rotated_sort_vertices_forward(
        (points - mean)[None, None].float(), mask[None, None], mask.sum().int()[None, None]
    )
    assert (index.shape, index.dtype) == ((1, 1, 9), torch.int32)
    x, y = points[index[0, 0].long()].unbind(1)
    return float((x[:-1] * y[1:] - y[:-1] * x[1:]).sum() / 2)


def test_the_shoelace_formula_gives_the_shared_area():
    generator = torch.Generator().manual_seed(0)
    scale, low = torch.tensor([3.0, 3, 3, 2, 6]).double(), torch.tensor([0, 0, 0.5, 0.5, -3]).double()
    a, b = (torch.rand(40, 5, generator=generator, dtype=torch.float64) * scale + low for _ in range(2))
    expected = rotated_intersection(a, b, aligned=True)
    assert (expected > 0.1).sum() > 10 and (expected == 0).any()
    for i in range(40):
        assert area(a[i], b[i]) == pytest.approx(float(expected[i]), abs=1e-6)  # counter-clockwise: positive


@pytest.mark.parametrize("turn", [0.0, math.pi / 2, math.pi, 0.3])
def test_the_same_box_twice(turn):
    a = torch.tensor([1.0, 2, 2, 2, 0.4]).double()
    b = a + torch.tensor([0, 0, 0, 0, turn]).double()
    assert area(a, b) == pytest.approx(float(rotated_intersection(a[None], b[None])), abs=1e-5)


def test_none():
    out = diff_iou_rotated_sort_vertices_forward(
        torch.zeros(0, 3, 24, 2), torch.zeros(0, 3, 24, dtype=torch.bool), torch.zeros(0, 3).int()
    )
    assert out.shape == (0, 3, 9)
