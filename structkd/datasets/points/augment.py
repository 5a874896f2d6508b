"""Augmentations of whole frames: (frame, rng) -> frame, the frame given is left alone.

After a flip, a turn or a scaling the calibration no longer leads to the image, so it is taken out of the frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from structkd.datasets.points.crops import boxes_in_range, check_range, points_in_range
from structkd.datasets.points.frame import Frame
from structkd.errors import ConfigError
from structkd.evaluation.kitti.objects import wrap


class RandomFlip:
    """Mirrors the frame.

    Args:
        y: chance to swap left and right (y -> -y); 0.5 in all published KITTI configs.
        x: chance to swap front and back (x -> -x); used for scans that are labelled all round.
    """

    def __init__(self, y: float = 0.5, x: float = 0.0) -> None:
        if not (0 <= y <= 1 and 0 <= x <= 1):
            raise ConfigError(f"RandomFlip(y={y}, x={x}): expected chances from 0 to 1.")
        self.y, self.x = y, x

    def __call__(self, frame: Frame, rng: np.random.Generator) -> Frame:
        flip_y, flip_x = rng.random(2) < (self.y, self.x)
        if not (flip_y or flip_x):
            return frame
        points, boxes = frame.points.copy(), frame.boxes.copy()
        for flip, column in ((flip_y, 1), (flip_x, 0)):
            if flip:
                points[:, column] *= -1
                boxes[:, column] *= -1
                boxes[:, 6] = wrap(-boxes[:, 6] + np.pi * (column == 0))
                if boxes.shape[1] == 9:
                    boxes[:, 7 + column] *= -1
        return frame.replace(points=points, boxes=boxes, calibration=None)


class GlobalRotation:
    """Turns the frame about the sensor's vertical axis by an angle drawn from `low` to `high` (radians; +-45 deg)."""

    def __init__(self, low: float = -np.pi / 4, high: float = np.pi / 4) -> None:
        if low > high:
            raise ConfigError(f"GlobalRotation(low={low}, high={high}): expected low <= high.")
        self.low, self.high = low, high

    def __call__(self, frame: Frame, rng: np.random.Generator) -> Frame:
        angle = rng.uniform(self.low, self.high)
        points, boxes = frame.points.copy(), frame.boxes.copy()
        turn(points, angle)
        turn(boxes, angle)
        boxes[:, 6] = wrap(boxes[:, 6] + angle)
        if boxes.shape[1] == 9:
            turn(boxes[:, 7:], angle)
        return frame.replace(points=points, boxes=boxes, calibration=None)


class GlobalScaling:
    """Stretches the frame by a factor drawn from `low` to `high`; objects, places and velocities grow alike."""

    def __init__(self, low: float = 0.95, high: float = 1.05) -> None:
        if not 0 < low <= high:
            raise ConfigError(f"GlobalScaling(low={low}, high={high}): expected 0 < low <= high.")
        self.low, self.high = low, high

    def __call__(self, frame: Frame, rng: np.random.Generator) -> Frame:
        factor = np.float32(rng.uniform(self.low, self.high))
        points, boxes = frame.points.copy(), frame.boxes.copy()
        points[:, :3] *= factor
        boxes[:, :6] *= factor
        boxes[:, 7:] *= factor
        return frame.replace(points=points, boxes=boxes, calibration=None)


class RangeFilter:
    """Keeps points in x0, y0, z0, x1, y1, z1 and boxes whose centre is, seen from above."""

    def __init__(self, point_range: Sequence[float]) -> None:
        self.point_range = check_range(point_range)

    def __call__(self, frame: Frame, rng: np.random.Generator) -> Frame:
        kept = boxes_in_range(frame.boxes, self.point_range)
        points = frame.points[points_in_range(frame.points, self.point_range)]
        return frame.replace(points=points, boxes=frame.boxes[kept], labels=frame.labels[kept])


class PointShuffle:
    """Puts the points into a random order: what a voxel with too many points keeps is then a random choice."""

    def __call__(self, frame: Frame, rng: np.random.Generator) -> Frame:
        return frame.replace(points=frame.points[rng.permutation(len(frame.points))])


class PointSample:
    """A fixed number of points in random order, as PointRCNN takes them.

    Args:
        num_points: points to keep; 16,384 in the published configs.
        near: points farther than this (metres) are kept first, because objects out there have few; 40.

    A frame with fewer points keeps all and repeats some; one without points stays as it is.

    Differences: where points must be repeated, mmdet3d draws all with replacement and so loses some; OpenPCDet and
    this keep each.
    """

    def __init__(self, num_points: int = 16384, near: float = 40.0) -> None:
        if num_points < 1:
            raise ConfigError(f"PointSample(num_points={num_points}): expected at least 1.")
        self.num_points, self.near = num_points, near

    def __call__(self, frame: Frame, rng: np.random.Generator) -> Frame:
        count = len(frame.points)
        if count == 0:
            return frame
        if count < self.num_points:
            rows = np.concatenate([np.arange(count), rng.integers(count, size=self.num_points - count)])
        else:
            far = np.linalg.norm(frame.points[:, :3], axis=1) > self.near
            # Far ones first, each group in random order.
            rows = np.lexsort((rng.random(count), ~far))[: self.num_points]
        return frame.replace(points=frame.points[rng.permutation(rows)])


def turn(rows: np.ndarray, angle: float) -> None:
    """Turns the first two columns of rows counter-clockwise about the origin, in place."""
    x, y = rows[:, 0].astype(np.float64), rows[:, 1].astype(np.float64)
    rows[:, 0], rows[:, 1] = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
