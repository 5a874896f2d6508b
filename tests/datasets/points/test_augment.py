import numpy as np
import pytest
import torch

from structkd.datasets import (
    Frame,
    GlobalRotation,
    GlobalScaling,
    ObjectNoise,
    PointSample,
    PointShuffle,
    RandomFlip,
    RangeFilter,
)
from structkd.datasets.points.kitti_files import Calibration
from structkd.errors import ConfigError
from structkd.ops.points_in_boxes import points_in_boxes
from structkd.ops.rotated_iou import rotated_intersection

WHOLE = [RandomFlip(y=1), RandomFlip(y=0, x=1), RandomFlip(y=1, x=1), GlobalRotation(), GlobalScaling()]
ALL = [*WHOLE, RandomFlip(), RangeFilter((0, -20, -3, 30, 20, 1)), PointShuffle(), PointSample(200), ObjectNoise()]


def scene(seed=0, box_columns=7):
    """Boxes on a grid, some points in each and some around."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(5, 45, 8), np.arange(-20, 21, 8))
    boxes = np.zeros((x.size, box_columns))
    boxes[:, 0], boxes[:, 1], boxes[:, 2] = x.ravel(), y.ravel(), -1.7
    boxes[:, 3:6] = rng.uniform([3, 1.4, 1.3], [4.5, 1.9, 1.8], (x.size, 3))
    boxes[:, 6] = rng.uniform(-np.pi, np.pi, x.size)
    boxes[:, 7:] = rng.normal(size=(x.size, box_columns - 7))
    local = rng.uniform(-0.49, 0.49, (x.size, 20, 3)) * boxes[:, None, 3:6]
    cos, sin = np.cos(boxes[:, 6:7]), np.sin(boxes[:, 6:7])
    inside = np.stack(
        [
            local[..., 0] * cos - local[..., 1] * sin + boxes[:, :1],
            local[..., 0] * sin + local[..., 1] * cos + boxes[:, 1:2],
            local[..., 2] + boxes[:, 2:3] + boxes[:, 5:6] / 2,
        ],
        axis=2,
    ).reshape(-1, 3)
    points = np.concatenate([inside, rng.uniform([0, -40, 0.5], [60, 40, 3], (300, 3))])
    points = np.concatenate([points, rng.random((len(points), 1))], axis=1).astype(np.float32)
    calibration = Calibration(np.eye(3, 4), np.eye(4))
    return Frame(points, boxes.astype(np.float32), np.arange(x.size) % 3, "a", calibration, (1242, 375))


def members(frame):
    """[P, M] bool, with a little room for rounding."""
    boxes = torch.from_numpy(frame.boxes[:, :7].copy())
    boxes[:, 3:6] += 1e-3
    boxes[:, 2] -= 5e-4
    return points_in_boxes(torch.from_numpy(frame.points), boxes)


def same(a, b):
    return all(np.array_equal(x, y) for x, y in ((a.points, b.points), (a.boxes, b.boxes), (a.labels, b.labels)))


@pytest.mark.parametrize("augment", ALL, ids=lambda augment: type(augment).__name__)
@pytest.mark.parametrize("box_columns", [7, 9])
def test_deterministic_and_never_in_place(augment, box_columns):
    frame, untouched = scene(box_columns=box_columns), scene(box_columns=box_columns)
    first = augment(frame, np.random.default_rng(1))
    assert same(frame, untouched) and frame.calibration is not None
    assert same(first, augment(frame, np.random.default_rng(1)))
    assert first.points.dtype == first.boxes.dtype == np.float32 and first.boxes.shape[1] == box_columns
    assert not same(first, frame) or not same(augment(frame, np.random.default_rng(2)), frame)


@pytest.mark.parametrize("augment", ALL, ids=lambda augment: type(augment).__name__)
def test_empty_frames(augment):
    frame = Frame(np.empty((0, 4), np.float32), np.empty((0, 7), np.float32), np.empty(0, np.int64), "a")
    assert same(augment(frame, np.random.default_rng(0)), frame)
    no_boxes = scene().replace(boxes=frame.boxes, labels=frame.labels)
    assert augment(no_boxes, np.random.default_rng(0)).boxes.shape == (0, 7)


@pytest.mark.parametrize("augment", WHOLE)
def test_what_is_in_a_box_stays_in_it(augment):
    frame = scene()
    moved = augment(frame, np.random.default_rng(3))
    assert torch.equal(members(moved), members(frame)) and members(frame).sum() >= 20 * len(frame.boxes)
    assert np.array_equal(moved.points[:, 3], frame.points[:, 3]) and np.array_equal(moved.labels, frame.labels)
    assert moved.calibration is None and (np.abs(moved.boxes[:, 6]) <= np.pi + 1e-6).all()


def test_headings_and_velocities_by_hand():
    box = np.array([[10, 5, -1, 4, 2, 1.5, 0.3, 3, 1]], np.float32)
    frame = scene(box_columns=9).replace(boxes=box, labels=np.zeros(1, np.int64))
    rng = np.random.default_rng(0)
    assert RandomFlip(1, 0)(frame, rng).boxes[0] == pytest.approx([10, -5, -1, 4, 2, 1.5, -0.3, 3, -1])
    assert RandomFlip(0, 1)(frame, rng).boxes[0] == pytest.approx([-10, 5, -1, 4, 2, 1.5, np.pi - 0.3, -3, 1])
    quarter = GlobalRotation(np.pi / 2, np.pi / 2)(frame, rng)
    assert quarter.boxes[0] == pytest.approx([-5, 10, -1, 4, 2, 1.5, np.pi / 2 + 0.3, -1, 3], abs=1e-6)
    assert quarter.points[:, 0] == pytest.approx(-frame.points[:, 1], abs=1e-5)
    double = GlobalScaling(2, 2)(frame, rng)
    assert double.boxes[0] == pytest.approx([20, 10, -2, 8, 4, 3, 0.3, 6, 2])
    assert np.array_equal(double.points[:, :3], 2 * frame.points[:, :3])


def test_a_flip_comes_half_of_the_time():
    frame, rng = scene(), np.random.default_rng(0)
    flipped = [RandomFlip()(frame, rng) is not frame for _ in range(400)]
    assert 150 < sum(flipped) < 250


def test_rotation_and_scaling_cover_their_range():
    frame, rng = scene(), np.random.default_rng(0)
    yaw = [GlobalRotation()(frame, rng).boxes[0, :2] for _ in range(200)]
    turns = [np.arctan2(y, x) - np.arctan2(frame.boxes[0, 1], frame.boxes[0, 0]) for x, y in yaw]
    assert -np.pi / 4 <= min(turns) < -0.7 and 0.7 < max(turns) <= np.pi / 4
    factors = [GlobalScaling()(frame, rng).boxes[0, 3] / frame.boxes[0, 3] for _ in range(200)]
    assert 0.95 <= min(factors) < 0.953 and 1.047 < max(factors) <= 1.0501


def test_range_filter():
    frame = RangeFilter((0, -20, -3, 30, 20, 1))(scene(), np.random.default_rng(0))
    low, high = frame.points[:, :3].min(0), frame.points[:, :3].max(0)
    assert (low >= [0, -20, -3]).all() and (high < [30, 20, 1]).all()
    assert (frame.boxes[:, 0] < 30).all() and 0 < len(frame.boxes) < 30 and len(frame.labels) == len(frame.boxes)


def test_shuffle_and_sample():
    frame, rng = scene(), np.random.default_rng(0)
    shuffled = PointShuffle()(frame, rng).points
    assert not np.array_equal(shuffled, frame.points)
    assert np.array_equal(np.sort(shuffled, axis=0), np.sort(frame.points, axis=0))
    count, far = len(frame.points), np.linalg.norm(frame.points[:, :3], axis=1) > 40
    fewer = PointSample(count - 50)(frame, rng).points
    assert len(np.unique(fewer, axis=0)) == count - 50
    assert (np.linalg.norm(fewer[:, :3], axis=1) > 40).sum() == far.sum() > 50  # far ones are all kept
    assert len(PointSample(int(far.sum()) - 5)(frame, rng).points) == far.sum() - 5
    more = PointSample(count + 50)(frame, rng).points
    assert len(more) == count + 50 and len(np.unique(more, axis=0)) == count


def test_object_noise_moves_objects_with_their_points():
    frame = scene()
    moved = ObjectNoise((1.0, 1.0, 0.5), np.pi / 4)(frame, np.random.default_rng(0))
    assert (np.abs(moved.boxes - frame.boxes)[:, [0, 1, 6]].max(1) > 0).all()
    before, after = members(frame), members(moved)
    assert not (before & ~after).any()  # whoever was in a box is in it still
    assert np.array_equal(moved.boxes[:, 3:6], frame.boxes[:, 3:6])
    outside = ~before.any(1).numpy()
    assert np.array_equal(moved.points[outside], frame.points[outside])
    bev = torch.from_numpy(moved.boxes[:, [0, 1, 3, 4, 6]]).double()
    assert rotated_intersection(bev, bev).fill_diagonal_(0).max() == 0


def test_object_noise_leaves_what_cannot_move():
    # Two boxes side by side without room: whatever is drawn, they would collide.
    boxes = np.array([[10, 0, 0, 4, 2, 1, 0], [10, 1.9, 0, 4, 2, 1, 0]], np.float32)
    frame = scene().replace(boxes=boxes, labels=np.zeros(2, np.int64))
    still = ObjectNoise((1e-3, 1e-3, 1e-3), 1e-3, num_try=5)(frame, np.random.default_rng(0))
    assert np.array_equal(still.boxes, boxes)


def test_errors():
    for wrong in (
        lambda: RandomFlip(1.5),
        lambda: GlobalRotation(1, 0),
        lambda: GlobalScaling(0, 1),
        lambda: PointSample(0),
        lambda: ObjectNoise((1, 1)),
        lambda: RangeFilter((0, 0, 0, 1, 1)),
    ):
        with pytest.raises(ConfigError):
            wrong()
