import math

import pytest
import torch
from mmcv_ops.boxes import (
    inside,
    points_in_boxes_all_forward,
    points_in_boxes_cpu_forward,
    points_in_boxes_part_forward,
)


def scene(points=200, boxes=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(points, 3, generator=generator) * torch.tensor([10.0, 10, 4])
    low, scale = torch.tensor([0.0, 0, 0, 1, 1, 1, -3]), torch.tensor([10.0, 10, 2, 4, 3, 2, 6])
    return x, torch.rand(boxes, 7, generator=generator) * scale + low


def holds(box, point):
    x, y, z, length, width, height, yaw = box.double().tolist()
    dx, dy, dz = (p - q for p, q in zip(point.double().tolist(), (x, y, z)))
    u, v = dx * math.cos(yaw) + dy * math.sin(yaw), dy * math.cos(yaw) - dx * math.sin(yaw)
    return abs(u) < length / 2 and abs(v) < width / 2 and 0 <= dz <= height


def test_all_three_by_definition():
    points, boxes = scene()
    expected = torch.tensor([[holds(box, point) for box in boxes] for point in points])
    assert expected.sum() > 20
    out = torch.zeros(9, 200, dtype=torch.int32)
    points_in_boxes_cpu_forward(boxes, points, out)
    assert torch.equal(out.bool().t(), expected)
    out = torch.zeros(2, 200, 9, dtype=torch.int32)
    points_in_boxes_all_forward(boxes.expand(2, -1, -1), points.expand(2, -1, -1), out)
    assert torch.equal(out.bool(), expected.expand(2, -1, -1))
    out = torch.zeros(1, 200, dtype=torch.int32)
    points_in_boxes_part_forward(boxes[None], points[None], out)
    assert out[0].tolist() == [next((j for j in range(9) if row[j]), -1) for row in expected.tolist()]


@pytest.mark.parametrize(
    ("point", "there"),
    [((0, 0, 0), True), ((0, 0, 2), True), ((1, 0, 1), False), ((0, -0.5, 1), False), ((0.999, 0.499, 1), True)],
)
def test_lids_belong_to_a_box_and_sides_do_not(point, there):
    box = torch.tensor([[0.0, 0, 0, 2, 1, 2, 0]])
    assert inside(torch.tensor([point]).float(), box).item() == there


def test_no_boxes_and_no_points():
    points, boxes = scene()
    part = torch.zeros(1, 200, dtype=torch.int32)
    points_in_boxes_part_forward(boxes[None, :0], points[None], part)
    assert (part == -1).all()
    points_in_boxes_all_forward(boxes[None, :0], points[None], torch.zeros(1, 200, 0, dtype=torch.int32))
    points_in_boxes_part_forward(boxes[None], points[None, :0], torch.zeros(1, 0, dtype=torch.int32))
    before = boxes.clone()
    assert inside(points[:0], boxes).shape == (0, 9) and torch.equal(boxes, before)
