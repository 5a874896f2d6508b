import numpy as np
import pytest
import torch

from structkd.datasets import Frame, GTDatabase, GTSampling, KittiFrames
from structkd.datasets.points.gt_database import cut_out
from structkd.datasets.points.prepare import write_gt_database
from structkd.errors import ConfigError, DataError
from structkd.ops.rotated_iou import rotated_intersection


def database(count=200, seed=0, box_columns=7):
    """Cars and pedestrians at random places, with 3 to 12 points each, all marked by reflectance 2."""
    rng = np.random.default_rng(seed)
    boxes = np.zeros((count, box_columns), np.float32)
    boxes[:, :2], boxes[:, 3:6] = rng.uniform([0, -30], [60, 30], (count, 2)), [4, 1.7, 1.5]
    boxes[:, 6] = rng.uniform(-3, 3, count)
    num_points = rng.integers(3, 13, count)
    sources = [np.tile(np.array([0, 0, 0.5, 2], np.float32), (n, 1)) for n in num_points]
    return GTDatabase(
        ("Car", "Pedestrian", "Cyclist"), boxes, np.arange(count) % 2, np.arange(count) % 4 - 1, num_points, sources
    )


def empty_frame(points=3000, seed=1):
    scan = np.random.default_rng(seed).uniform([0, -30, 0, 0], [60, 30, 1.4, 1], (points, 4)).astype(np.float32)
    return Frame(scan, np.empty((0, 7), np.float32), np.empty(0, np.int64), "a")


def test_fills_frames_up_without_overlaps():
    frame = empty_frame()
    for seed in range(20):
        filled = GTSampling(database())(frame, np.random.default_rng(seed))
        bev = torch.from_numpy(filled.boxes[:, [0, 1, 3, 4, 6]]).double()
        assert rotated_intersection(bev, bev).fill_diagonal_(0).max() == 0
        counts = np.bincount(filled.labels, minlength=3)
        assert (counts[:2] > 6).all() and (counts <= 15).all() and counts[2] == 0


def test_points_of_the_scan_make_room():
    filled = GTSampling(database())(empty_frame(), np.random.default_rng(0))
    parts = cut_out(filled.points, filled.boxes)
    assert all((part[:, 3] == 2).all() and len(part) >= 5 for part in parts)
    scan = filled.points[filled.points[:, 3] < 2]
    assert 2000 < len(scan) < 3000


def test_existing_objects_stay_and_count():
    boxes = np.zeros((14, 7), np.float32)
    boxes[:, 0], boxes[:, 1], boxes[:, 3:6] = np.arange(14) * 4 + 1, 0, [3.9, 1.7, 1.5]
    frame = empty_frame().replace(boxes=boxes, labels=np.zeros(14, np.int64))
    filled = GTSampling(database(), {"Car": 15})(frame, np.random.default_rng(0))
    assert np.array_equal(filled.boxes[:14], boxes) and 14 <= len(filled.boxes) <= 15
    assert GTSampling(database(), {"Car": 14})(frame, np.random.default_rng(0)) is frame


def test_deterministic_and_never_in_place():
    frame, whole = empty_frame(), database()
    before = [source.copy() for source in whole.sources]
    first, second = (GTSampling(whole)(frame, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first.points, second.points) and np.array_equal(first.boxes, second.boxes)
    assert len(frame.boxes) == 0 and all(np.array_equal(a, b) for a, b in zip(before, whole.sources))
    other = GTSampling(whole)(frame, np.random.default_rng(6))
    assert not np.array_equal(first.boxes, other.boxes)


def test_poor_and_hard_objects_are_not_pasted():
    whole = database()
    rows = whole.rows("Car", 5, (-1,))
    assert (
        (whole.num_points[rows] >= 5).all() and (whole.difficulty[rows] >= 0).all() and (whole.labels[rows] == 0).all()
    )
    assert len(rows) == ((whole.num_points >= 5) & (whole.difficulty >= 0) & (whole.labels == 0)).sum() > 0
    sampling = GTSampling(whole)
    assert [len(pool) for _, _, pool in sampling.pools][1] == len(whole.rows("Pedestrian", 10, (-1,)))


def test_built_from_frames_or_read_from_the_disk(kitti_root):
    frames = KittiFrames(kitti_root)
    built = GTDatabase.build(frames)
    assert len(built) == 4 and built.labels.tolist() == [0, 1, 2, 0] and (built.num_points == 40).all()
    # The label files say 80 pixels high, not occluded, not truncated.
    assert built.difficulty.tolist() == [0, 0, 0, 0]
    read = GTDatabase.read(write_gt_database(kitti_root, show_progress=False))
    order = (
        np.lexsort((read.boxes[:, 0], read.boxes[:, 1], read.labels)),
        np.lexsort((built.boxes[:, 0], built.boxes[:, 1], built.labels)),
    )
    assert np.allclose(read.boxes[order[0]], built.boxes[order[1]])
    for i, j in zip(*order):
        assert np.allclose(read.points(i), built.points(j), atol=1e-5)
        inside = cut_out(read.points(i), read.boxes[i : i + 1] + np.array([0, 0, 0, 1e-3, 1e-3, 1e-3, 0], np.float32))
        assert len(inside[0]) == 40


def test_an_empty_database_pastes_nothing():
    nothing = GTDatabase.build(_NoBoxes())
    frame = empty_frame()
    assert len(nothing) == 0 and GTSampling(nothing)(frame, np.random.default_rng(0)) is frame


class _NoBoxes:
    classes = ("Car",)

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return empty_frame(10)


def test_errors(tmp_path):
    with pytest.raises(ConfigError, match="no class Tram"):
        GTSampling(database(), {"Tram": 3})
    with pytest.raises(DataError, match="no velocities"):
        nine = empty_frame().replace(boxes=np.empty((0, 9), np.float32))
        GTSampling(database())(nine, np.random.default_rng(0))
    with pytest.raises(DataError, match="have 5 columns, those of the database 4"):
        wide = empty_frame().replace(points=np.zeros((3, 5), np.float32))
        GTSampling(database())(wide, np.random.default_rng(0))
