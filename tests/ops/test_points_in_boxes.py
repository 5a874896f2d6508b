import math
import sys

import pytest
import torch

from structkd.errors import DataError
from structkd.ops.points_in_boxes import box_of_points, points_in_boxes


def test_hand_computed_faces_belong_to_the_box():
    box = torch.tensor([[10.0, 0, -1, 4, 2, 1.5, 0]])
    points = torch.tensor(
        [[10, 0, 0, 0.5], [12, 1, -1, 0], [8, -1, 0.5, 0], [12.01, 0, 0, 0], [10, 1.01, 0, 0], [10, 0, -1.01, 0]]
    )
    assert points_in_boxes(points, box)[:, 0].tolist() == [True, True, True, False, False, False]


def test_turned_box():
    box = torch.tensor([[0.0, 0, 0, 4, 2, 1, math.pi / 6]])
    tip = torch.tensor([[math.cos(math.pi / 6), math.sin(math.pi / 6), 0.25]])
    assert points_in_boxes(tip * torch.tensor([1.99, 1.99, 1]), box).item()
    assert not points_in_boxes(tip * torch.tensor([1.99, -1.99, 1]), box).item()


def test_agrees_with_convex_hulls_of_the_corners(generator, monkeypatch):
    from scipy.spatial import ConvexHull

    from structkd.datasets.points.boxes import lidar_corners

    points = torch.rand(3000, 4, generator=generator) * torch.tensor([20, 20, 4, 1])
    boxes = torch.rand(25, 7, generator=generator) * torch.tensor([20, 20, 2, 4, 2, 2, 7]) + 0.1
    hulls = [ConvexHull(corners).equations for corners in lidar_corners(boxes.double().numpy())]
    expected = torch.stack(
        [
            (points[:, :3].double() @ torch.from_numpy(planes[:, :3]).t() + torch.from_numpy(planes[:, 3]) <= 0).all(1)
            for planes in hulls
        ],
        1,
    )
    assert expected.any()
    assert torch.equal(points_in_boxes(points, boxes), expected)
    monkeypatch.setattr(sys.modules["structkd.ops.points_in_boxes"], "BLOCK", 7000)
    assert torch.equal(points_in_boxes(points, boxes), expected)


def test_first_box_of_each_point():
    boxes = torch.tensor([[0.0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 4, 4, 4, 0]])
    points = torch.tensor([[0.0, 0, 0.5], [1.5, 0, 0.5], [9, 9, 9], [float("nan"), 0, 0.5]])
    assert box_of_points(points, boxes).tolist() == [0, 1, -1, -1]
    assert box_of_points(points, boxes[:0]).tolist() == [-1] * 4


def test_nothing_and_wrong_shapes():
    assert points_in_boxes(torch.zeros(0, 4), torch.zeros(2, 7)).shape == (0, 2)
    assert points_in_boxes(torch.zeros(5, 3), torch.zeros(0, 7)).shape == (5, 0)
    with pytest.raises(DataError, match=r"\(5, 2\).*\[N, 3 or more\]"):
        points_in_boxes(torch.zeros(5, 2), torch.zeros(0, 7))
    with pytest.raises(DataError, match=r"\[M, 7\]"):
        points_in_boxes(torch.zeros(5, 3), torch.zeros(2, 5))
