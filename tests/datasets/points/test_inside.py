import numpy as np
import torch

from structkd.datasets.points.inside import owners, rows_in_boxes
from structkd.ops.points_in_boxes import box_of_points, points_in_boxes


def test_agrees_with_the_op():
    rng = np.random.default_rng(0)
    for columns, dtype in ((7, np.float32), (9, np.float64)):
        points = rng.uniform([-10, -10, -2, 0], [10, 10, 2, 1], (4000, 4)).astype(np.float32)
        boxes = rng.uniform([-9, -9, -2, 0.2, 0.2, 0.2, -4, 0, 0], [9, 9, 1, 6, 3, 3, 4, 1, 1], (40, 9))
        boxes = boxes[:, :columns].astype(dtype)
        expected = points_in_boxes(torch.from_numpy(points), torch.from_numpy(boxes[:, :7].copy())).numpy()
        found = rows_in_boxes(points, boxes)
        assert len(found) == 40 and expected.sum() > 500
        for i, rows in enumerate(found):
            assert np.array_equal(rows, np.flatnonzero(expected[:, i]))
        first = box_of_points(torch.from_numpy(points), torch.from_numpy(boxes[:, :7].copy()))
        assert np.array_equal(owners(points, boxes), first.numpy())


def test_faces_and_corners_belong_to_the_box():
    corners = np.array([(x, y, z, 0) for x in (3.0, 5) for y in (1.0, 3) for z in (0.0, 1.5)])
    box = np.array([[4, 2, 0, 2, 2, 1.5, 0.0]])
    assert rows_in_boxes(corners, box)[0].tolist() == list(range(8))
    assert len(rows_in_boxes(corners * 1.001, box)[0]) < 8


def test_empty():
    assert rows_in_boxes(np.empty((0, 4)), np.ones((2, 7)))[1].tolist() == []
    assert rows_in_boxes(np.ones((3, 4)), np.empty((0, 7))) == []
    assert owners(np.ones((3, 4)), np.empty((0, 7))).tolist() == [-1, -1, -1]
