import pytest
import torch

from structkd.errors import DataError
from structkd.ops.iou_2d import intersection_2d, iou_2d


def test_hand_computed():
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1]])
    b = torch.tensor([[1.0, 1, 3, 3], [2, 0, 4, 2], [0, 0, 2, 2]])
    assert intersection_2d(a, b).tolist() == [[1, 0, 4], [0, 0, 1]]
    assert torch.allclose(iou_2d(a, b), torch.tensor([[1 / 7, 0, 1], [0, 0, 1 / 4]]))
    assert torch.allclose(iou_2d(a, b[1:], aligned=True), torch.tensor([0, 1 / 4]))


def test_empty_boxes_overlap_nothing():
    a = torch.tensor([[1.0, 1, 1, 5], [3, 3, 2, 2]])
    assert iou_2d(a, a).tolist() == [[0, 0], [0, 0]]
    assert iou_2d(a[:0], a).shape == (0, 2)


def test_shapes_that_do_not_fit():
    with pytest.raises(DataError, match=r"expected \[N, 4\]"):
        iou_2d(torch.zeros(2, 5), torch.zeros(2, 4))
    with pytest.raises(DataError):
        iou_2d(torch.zeros(2, 4), torch.zeros(3, 4), aligned=True)
