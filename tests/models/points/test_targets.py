import pytest
import torch

from structkd.errors import DataError
from structkd.models.points.targets import best_overlap, check_targets, owners

BOXES = torch.tensor([[0.0, 0, 0, 4, 2, 1, 0], [0, 0, 0, 4, 2, 1, 0], [1, 0, 0, 4, 2, 1, 0]])
SCENE = torch.tensor([1, 0, 1])


def test_owner_is_a_box_of_the_same_scene():
    pos = torch.tensor([[1.9, 0, 0.5], [2.5, 0, 0.5], [1.9, 0, 0.5], [2.5, 0, 0.5], [1.9, 0, 0.5]])
    batch = torch.tensor([0, 0, 1, 1, 2])
    assert owners(pos, batch, BOXES, SCENE, 3).tolist() == [1, -1, 0, 2, -1]
    assert owners(pos, batch, BOXES[:0], SCENE[:0], 3).tolist() == [-1] * 5


def test_overlap_with_boxes_of_the_same_scene_and_class():
    labels, scene = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    rois = BOXES[[0, 0, 0]]
    iou, owner = best_overlap(rois, torch.tensor([0, 1, 2]), scene, BOXES, labels, SCENE, 2)
    # Three of the four metres along x are shared with the third box.
    torch.testing.assert_close(iou, torch.tensor([1, 3 / 5, 0]))
    assert owner[:2].tolist() == [1, 2]
    assert best_overlap(rois, labels, scene, BOXES[:0], labels[:0], SCENE[:0], 2)[0].tolist() == [0, 0, 0]
    assert best_overlap(rois[:0], labels[:0], scene[:0], BOXES, labels, SCENE, 2)[0].shape == (0,)


def test_bad_targets():
    labels = torch.tensor([0, 1, 2])
    check_targets(BOXES, labels, SCENE, 3)
    check_targets(BOXES[:0], labels[:0], SCENE[:0], 3)
    with pytest.raises(DataError, match="labels go from 0 to 2; the detector knows 2"):
        check_targets(BOXES, labels, SCENE, 2)
    with pytest.raises(DataError, match=r"\[M, 7 or more\]"):
        check_targets(BOXES[:, :6], labels, SCENE, 3)
