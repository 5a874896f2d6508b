import numpy as np
import pytest

from structkd.datasets import KittiFrames, to_kitti
from structkd.errors import DataError
from structkd.evaluation.kitti import KittiEvaluation

CLASSES = ("Car", "Pedestrian", "Cyclist")


@pytest.fixture
def frame(kitti_root):
    return KittiFrames(kitti_root)[0]


def convert(frame, boxes, scores=None, labels=None, point_range=None):
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 7)
    scores = np.linspace(1, 0.5, len(boxes)) if scores is None else scores
    labels = np.zeros(len(boxes), np.int64) if labels is None else labels
    return to_kitti(boxes, scores, labels, CLASSES, frame.calibration, frame.image_size, point_range)


def test_boxes_come_back_as_labels(kitti_root):
    frames = KittiFrames(kitti_root, "all")
    detections = []
    for i, frame in enumerate(frames):
        scores = np.arange(len(frame.boxes)) / 10 + 0.1
        found = to_kitti(frame.boxes, scores, frame.labels, CLASSES, frame.calibration, frame.image_size)
        label = frames.annotations(i)
        label = label[np.isin(label.kind, ["car", "pedestrian", "cyclist"])]
        assert found.kind.tolist() == label.kind.tolist() and found.score.tolist() == scores.tolist()
        assert found.camera_boxes == pytest.approx(label.camera_boxes, abs=2e-4)
        assert found.alpha == pytest.approx(label.alpha, abs=2e-4)
        detections.append(found)
    results = KittiEvaluation([frames.annotations(i) for i in range(len(frames))], detections).results()
    assert results["Car"]["3d"]["AP11"][0] > 0


def test_image_boxes_by_hand(frame):
    # 10 m ahead of the camera, 2 m wide and high, from 9 to 11 m: focal length 700, centre 600, 180.
    found = convert(frame, [[10, 0, -1, 2, 2, 2, 0]])
    half = 700 / 9
    assert found.image_boxes[0] == pytest.approx([600 - half, 180 - half, 600 + half, 180 + half])
    assert found.camera_boxes[0] == pytest.approx([0, 1, 10, 2, 2, 2, -np.pi / 2])
    assert found.truncated.tolist() == found.occluded.tolist() == [-1]


def test_boxes_outside_the_picture_are_dropped_and_others_clipped(frame):
    inside, left, behind, high, around = (
        [10, 0, -1, 2, 2, 2, 0],
        [10, 30, -1, 2, 2, 2, 0],
        [-10, 0, -1, 2, 2, 2, 0],
        [10, 0, 9, 2, 2, 2, 0],
        [0, 0, -1.5, 4, 2, 2, 0],
    )
    found = convert(frame, [left, inside, behind, high, around], labels=np.array([0, 1, 0, 0, 2]))
    assert found.type.tolist() == ["Pedestrian", "Cyclist"] and found.score.tolist() == [0.875, 0.5]
    assert found.image_boxes[1].tolist() == [0, 0, 1241, 374]


def test_range(frame):
    low, high = [10, 0, -1, 2, 2, 2, 0], [10, 0, 0.5, 2, 2, 2, 0]
    assert len(convert(frame, [low, high])) == 2
    assert convert(frame, [low, high], point_range=(0, -40, -3, 70.4, 40, 0)).score.tolist() == [1]


def test_nothing_found(frame):
    found = convert(frame, [])
    assert len(found) == 0 and found.score.shape == (0,) and found.image_boxes.shape == (0, 4)


def test_errors(frame):
    box = [[10, 0, -1, 2, 2, 2, 0]]
    with pytest.raises(DataError, match="scores"):
        convert(frame, box, scores=np.ones(2))
    with pytest.raises(DataError, match="labels from 3 to 3 for 3 classes"):
        convert(frame, box, labels=np.array([3]))
    with pytest.raises(DataError, match="not finite"):
        convert(frame, [[10, 0, np.nan, 2, 2, 2, 0]])
