import numpy as np
import torch

from structkd.datasets.points.collisions import overlaps
from structkd.ops.rotated_iou import rotated_intersection


def test_agrees_with_areas():
    rng = np.random.default_rng(0)
    a, b = (np.zeros((120, 7)) for _ in range(2))
    for boxes in (a, b):
        boxes[:, :2], boxes[:, 3:5] = rng.uniform(-8, 8, (120, 2)), rng.uniform(0.5, 5, (120, 2))
        boxes[:, 6] = rng.uniform(-4, 4, 120)
    columns = [0, 1, 3, 4, 6]
    area = rotated_intersection(torch.from_numpy(a[:, columns]), torch.from_numpy(b[:, columns])).numpy()
    found = overlaps(a, b)
    assert np.array_equal(found, area > 1e-12) and 0.05 < found.mean() < 0.95
    assert np.array_equal(found.T, overlaps(b, a))


def test_by_hand():
    square = np.array([[0.0, 0, 0, 2, 2, 1, 0]])
    turned = np.array([[1.9 + 0.4, 0, 0, 2, 2, 1, np.pi / 4]])  # a corner at 2.3 - 1.414
    beyond = np.array([[2.5, 0, 0, 2, 2, 1, np.pi / 4]])
    assert overlaps(square, turned)[0, 0] and not overlaps(square, beyond)[0, 0]
    assert overlaps(square, square)[0, 0]
    assert overlaps(square, np.array([[0.0, 0, 50, 0.1, 0.1, 1, 1]]))[0, 0]  # nested; heights are not looked at
    assert overlaps(square[:0], square).shape == (0, 1) and overlaps(square, square[:0]).shape == (1, 0)
