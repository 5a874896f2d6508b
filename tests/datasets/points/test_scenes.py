import numpy as np
import pytest
import torch

from structkd.datasets import Frame, Scenes
from structkd.errors import DataError


def frame(points, boxes, name="a", columns=4, box_columns=7):
    return Frame(
        np.full((points, columns), points, np.float32),
        np.full((boxes, box_columns), boxes, np.float32),
        np.full(boxes, boxes, np.int64),
        name,
    )


def test_from_frames():
    scenes = Scenes.from_frames([frame(3, 1, "x"), frame(0, 0, "y"), frame(2, 2, "z")], n_id=[5, 9, 7])
    assert scenes.num_scenes == 3 and scenes.frame_id == ["x", "y", "z"] and scenes.n_id.tolist() == [5, 9, 7]
    assert scenes.batch.tolist() == [0, 0, 0, 2, 2] and scenes.boxes_batch.tolist() == [0, 2, 2]
    assert scenes.points[:, 0].tolist() == [3, 3, 3, 2, 2] and scenes.labels.tolist() == [1, 2, 2]
    assert scenes.points.dtype == scenes.boxes.dtype == torch.float32 and scenes.labels.dtype == torch.int64


def test_frames_without_anything():
    scenes = Scenes.from_frames([frame(0, 0), frame(0, 0)])
    assert scenes.num_scenes == 2 and scenes.points.shape == (0, 4) and scenes.boxes.shape == (0, 7)
    assert scenes.batch.dtype == scenes.boxes_batch.dtype == torch.int64 and scenes.n_id.tolist() == [0, 1]


def test_moves_and_copies_as_data():
    scenes = Scenes.from_frames([frame(3, 1)])
    moved = scenes.clone().to("meta")
    assert isinstance(moved, Scenes) and moved.points.device.type == "meta" and scenes.points.device.type == "cpu"
    assert moved.num_scenes == 1 and moved.frame_id == ["a"]


def test_scenes_do_not_share_memory_with_frames():
    one = frame(3, 1)
    Scenes.from_frames([one]).points.zero_()
    assert (one.points == 3).all()


def test_errors():
    with pytest.raises(DataError, match="no frame"):
        Scenes.from_frames([])
    with pytest.raises(DataError, match="points of frames a, b have 4 and 5 columns"):
        Scenes.from_frames([frame(1, 1, "a"), frame(1, 1, "b", columns=5)])
    with pytest.raises(DataError, match="boxes of frames a, b have 7 and 9 columns"):
        Scenes.from_frames([frame(1, 1, "a"), frame(1, 0, "b", box_columns=9)])
    with pytest.raises(DataError, match="n_id"):
        Scenes.from_frames([frame(1, 1)], n_id=[1, 2])
    with pytest.raises(DataError, match=r"Frame a got points \(1, 2\)"):
        frame(1, 1, columns=2)
    with pytest.raises(DataError, match="boxes"):
        frame(1, 1, box_columns=8)
