import math

import pytest
import torch
from mmcv_ops.iou import bbox_overlaps, box_iou_rotated, iou3d_boxes_overlap_bev_forward


def upright(rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(rows, 2, generator=generator) * 10
    return torch.cat([corner, corner + torch.rand(rows, 2, generator=generator) * 5], 1)


def turned(rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([6.0, 6.0, 4.0, 4.0, 6.0])
    return torch.rand(rows, 5, generator=generator) * scale + torch.tensor([0, 0, 0.2, 0.2, -3])


def polygon(box):
    from shapely.geometry import Polygon

    x, y, w, h, a = box.double().tolist()
    corners = [(w / 2, h / 2), (-w / 2, h / 2), (-w / 2, -h / 2), (w / 2, -h / 2)]
    cos, sin = math.cos(a), math.sin(a)
    return Polygon([(x + u * cos - v * sin, y + u * sin + v * cos) for u, v in corners])


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("aligned", [False, True])
def test_bbox_overlaps_by_definition(offset, mode, aligned):
    a, b = upright(7), upright(7 if aligned else 5, seed=1)
    out = a.new_zeros(7) if aligned else a.new_zeros(7, 5)
    bbox_overlaps(a, b, out, mode=mode, aligned=aligned, offset=offset)
    for i in range(7):
        for j in [i] if aligned else range(5):
            sides = [max(min(a[i, k + 2], b[j, k + 2]) - max(a[i, k], b[j, k]) + offset, 0) for k in (0, 1)]
            area = [(r[2] - r[0] + offset) * (r[3] - r[1] + offset) for r in (a[i], b[j])]
            shared = sides[0] * sides[1]
            whole = max(area[0] + area[1] - shared if mode == 0 else area[0], offset)
            torch.testing.assert_close(out[i] if aligned else out[i, j], torch.as_tensor(shared / whole))


def test_bbox_overlaps_leaves_its_inputs_and_gives_0_for_nothing():
    a = upright(3)
    before = a.clone()
    bbox_overlaps(a, a, a.new_zeros(3, 3), mode=0, aligned=False, offset=1)
    assert torch.equal(a, before)
    point, out = torch.tensor([[1.0, 1, 1, 1]]), torch.ones(1, 1)
    bbox_overlaps(point, point, out, mode=0, aligned=False, offset=0)
    assert out.item() == 0
    bbox_overlaps(a[:0], a, a.new_zeros(0, 3), mode=0, aligned=False, offset=0)


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_box_iou_rotated_by_polygons(mode, aligned, dtype):
    pytest.importorskip("shapely")
    a, b = turned(8).to(dtype), turned(8 if aligned else 6, seed=1).to(dtype)
    out = torch.zeros(8 if aligned else 48, dtype=dtype)
    box_iou_rotated(a, b, out, mode_flag=mode, aligned=aligned)
    pairs = [(i, i) for i in range(8)] if aligned else [(i, j) for i in range(8) for j in range(6)]
    expected = []
    for i, j in pairs:
        p, q = polygon(a[i]), polygon(b[j])
        shared = p.intersection(q).area
        expected.append(shared / (p.area + q.area - shared if mode == 0 else p.area))
    torch.testing.assert_close(out, torch.tensor(expected, dtype=dtype), atol=1e-6, rtol=1e-5)


def test_overlap_from_above_reads_the_right_columns():
    flat = turned(6)
    boxes = torch.cat([flat[:, :2], torch.rand(6, 1), flat[:, 2:4], torch.rand(6, 1), flat[:, 4:]], 1)
    out = torch.zeros(6, 6)
    iou3d_boxes_overlap_bev_forward(boxes, boxes, out)
    torch.testing.assert_close(out.diagonal(), flat[:, 2] * flat[:, 3])
    torch.testing.assert_close(out, out.t())
    iou3d_boxes_overlap_bev_forward(boxes[:0], boxes, torch.zeros(0, 6))


def test_an_unknown_mode_is_refused():
    with pytest.raises(NotImplementedError, match="Mode 2"):
        box_iou_rotated(turned(2), turned(2), torch.zeros(4), mode_flag=2, aligned=False)
