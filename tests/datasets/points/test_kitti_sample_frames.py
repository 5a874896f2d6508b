"""Real frames through the dataset, the loader and the augmentations."""

import numpy as np
import pytest
import torch

from structkd.datasets import (
    GlobalRotation,
    GlobalScaling,
    GTDatabase,
    GTSampling,
    KittiFrames,
    ObjectNoise,
    PointSample,
    RandomFlip,
    RangeFilter,
    SceneLoader,
    to_kitti,
)
from structkd.datasets.points.boxes import image_boxes
from structkd.datasets.points.gt_database import cut_out
from structkd.ops.iou_2d import iou_2d
from structkd.ops.rotated_iou import rotated_intersection

RANGE = (0, -39.68, -3, 69.12, 39.68, 1)


@pytest.fixture(scope="module")
def frames(real_data):
    root = real_data / "kitti_sample"
    if not root.is_dir():
        pytest.skip(f"no KITTI frames: there is no folder {root}")
    return KittiFrames(root, "all")


def test_frames(frames):
    assert len(frames) >= 10 and frames.frame_ids[0] == "000000"
    sizes = {frame.image_size for frame in frames}
    assert sizes >= {(1242, 375), (1224, 370)}  # read from the pictures
    points = [len(frame.points) for frame in frames]
    # The camera's part of all training frames has 18,968 +- 1,045 points, from 13,545 to 20,991.
    assert min(points) >= 13_545 and max(points) <= 20_991 and 17_500 < np.mean(points) < 20_500


def test_points_in_boxes(frames):
    counts, expected = {0: [], 1: [], 2: []}, {0: 77_000, 1: 34_900, 2: 37_900}
    squares = {0: [], 1: [], 2: []}
    for i, frame in enumerate(frames):
        objects = frames.annotations(i)
        objects = objects[np.isin(objects.kind, ["car", "pedestrian", "cyclist"])]
        clear = (objects.occluded == 0) & (objects.truncated < 0.05)
        for box, label, part, seen in zip(frame.boxes, frame.labels, cut_out(frame.points, frame.boxes), clear):
            counts[label].append(len(part))
            if seen:
                squares[label].append(len(part) * (box[0] ** 2 + box[1] ** 2))
    every = [count for of_class in counts.values() for count in of_class]
    assert min(every) >= 1 and max(every) <= 6237 and len(every) >= 25
    for label in (0, 1, 2):  # n r^2 of unhidden objects; there are few of them
        assert 0.5 < np.median(squares[label]) / expected[label] < 2


def test_boxes_project_to_their_image_labels(frames):
    overlaps = []
    for i in range(len(frames)):
        objects = frames.annotations(i)
        objects = objects[~objects.dont_care & (objects.truncated < 0.05)]
        found, _ = image_boxes(objects.camera_boxes, frames.calibration(i).projection, frames.image_size(i))
        overlaps += iou_2d(torch.from_numpy(found), torch.from_numpy(objects.image_boxes), aligned=True).tolist()
    assert len(overlaps) > 20 and min(overlaps) > 0.6 and np.median(overlaps) > 0.85


def test_labels_come_back_from_lidar_boxes(frames):
    for i, frame in enumerate(frames):
        scores = np.ones(len(frame.boxes))
        found = to_kitti(frame.boxes, scores, frame.labels, frames.classes, frame.calibration, frame.image_size)
        label = frames.annotations(i)
        label = label[np.isin(label.kind, ["car", "pedestrian", "cyclist"])]
        assert np.allclose(found.camera_boxes, label.camera_boxes, atol=1e-4)


def test_training_batches(frames):
    database = GTDatabase.build(frames)
    assert len(database) == sum(len(frame.boxes) for frame in frames)
    steps = [
        GTSampling(database),
        ObjectNoise(),
        RandomFlip(),
        GlobalRotation(),
        GlobalScaling(),
        RangeFilter(RANGE),
        PointSample(),
    ]
    loader = SceneLoader(frames, 2, steps, repeat=2, cache=True)
    batches = list(loader)
    assert len(batches) == len(frames)
    for scenes in batches:
        assert scenes.num_scenes == 2 and torch.bincount(scenes.batch).tolist() == [16384, 16384]
        for scene in range(2):
            bev = scenes.boxes[scenes.boxes_batch == scene][:, [0, 1, 3, 4, 6]].double()
            assert rotated_intersection(bev, bev).fill_diagonal_(0).max() < 1e-6
    assert sum(len(scenes.boxes) for scenes in batches) > 2 * len(database)


def test_augmentations_keep_what_is_in_boxes(frames):
    for frame in frames:
        before = [len(part) for part in cut_out(frame.points, frame.boxes)]
        for augment in (RandomFlip(1, 0), GlobalRotation(), GlobalScaling()):
            moved = augment(frame, np.random.default_rng(0))
            after = [len(part) for part in cut_out(moved.points, moved.boxes)]
            # A point on a face may be rounded to the other side.
            assert all(abs(a - b) <= max(1, 0.005 * b) for a, b in zip(after, before)), (before, after)
