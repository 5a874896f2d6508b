import numpy as np

from structkd.evaluation.kitti import KittiObjects
from structkd.evaluation.kitti.objects import wrap


def test_boxes_go_in_and_come_out():
    boxes = np.array([[1.0, 1.6, 20, 3.9, 1.5, 1.6, 0.3], [-4, 1.5, 9, 0.8, 1.7, 0.6, -3]])
    image = np.array([[100.0, 120, 180, 170], [10, 20, 30, 90]])
    made = KittiObjects.from_boxes(["Car", "Pedestrian"], boxes, image, np.array([0.5, 0.25], dtype=np.float32))
    assert np.allclose(made.camera_boxes, boxes)
    assert np.array_equal(made.image_boxes, image) and made.image_height.tolist() == [50, 70]
    assert np.allclose(made.alpha, wrap(boxes[:, 6] - np.arctan2(boxes[:, 0], boxes[:, 2])))
    assert made.score.dtype == np.float64 and made[:1].score.tolist() == [0.5]
    assert (made.truncated == -1).all() and (made.occluded == -1).all()
    assert len(made) == 2 and made.kind.tolist() == ["car", "pedestrian"]


def test_concatenate():
    one = KittiObjects.from_boxes(["Person_sitting"], np.ones((1, 7)), np.ones((1, 4)), np.ones(1))
    label = KittiObjects.from_boxes(["Car"], np.ones((1, 7)), np.ones((1, 4)))
    both = KittiObjects.concatenate([one, one])
    assert both.type.tolist() == ["Person_sitting"] * 2 and both.score.tolist() == [1, 1]
    assert KittiObjects.concatenate([one, label]).score is None
    assert len(KittiObjects.concatenate([])) == 0


def test_wrap():
    assert np.allclose(wrap(np.array([0, np.pi, -np.pi, 3.5, 7])), [0, -np.pi, -np.pi, 3.5 - 2 * np.pi, 7 - 2 * np.pi])
