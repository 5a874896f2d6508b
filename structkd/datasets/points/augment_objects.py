"""Augmentations of single objects: moved a little, or pasted from other frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from structkd.datasets.points.augment import turn
from structkd.datasets.points.collisions import overlaps
from structkd.datasets.points.frame import Frame
from structkd.datasets.points.gt_database import GTDatabase
from structkd.datasets.points.inside import owners, rows_in_boxes
from structkd.errors import ConfigError, DataError
from structkd.evaluation.kitti.objects import wrap

#: Objects of each class that a frame is filled up to in the published PointPillars configs.
GROUPS = {"Car": 15, "Pedestrian": 15, "Cyclist": 15}
#: Points that an object must have to be pasted.
MIN_POINTS = {"Car": 5, "Pedestrian": 10, "Cyclist": 10}


class ObjectNoise:
    """Moves and turns each box with the points in it, unless it would run into another.

    Args:
        translation_std: standard deviations along x, y, z in metres. PointPillars 0.25 each (default); SECOND and
            PointRCNN 1, 1, 0.5.
        rotation: each box turns about its vertical axis by up to this (radians): pi/20 (default), pi/4.
        num_try: draws for each box; if all collide, it stays.

    Differences: mmdet3d draws all objects' noise before it places the first; here each object draws for itself.
    """

    def __init__(
        self,
        translation_std: Sequence[float] = (0.25, 0.25, 0.25),
        rotation: float = np.pi / 20,
        num_try: int = 100,
    ) -> None:
        if len(translation_std) != 3 or min(translation_std) < 0 or rotation < 0 or num_try < 1:
            raise ConfigError(
                f"ObjectNoise(translation_std={list(translation_std)}, rotation={rotation}, num_try={num_try}): "
                "expected three standard deviations and an angle from 0, and at least one try."
            )
        self.translation_std, self.rotation, self.num_try = tuple(translation_std), rotation, num_try

    def __call__(self, frame: Frame, rng: np.random.Generator) -> Frame:
        points, boxes = frame.points.copy(), frame.boxes.copy()
        owner = owners(points, boxes)
        for i in range(len(boxes)):
            tried = np.repeat(boxes[i : i + 1], self.num_try, axis=0)
            tried[:, :3] += rng.normal(0, self.translation_std, (self.num_try, 3))
            tried[:, 6] += rng.uniform(-self.rotation, self.rotation, self.num_try)
            free = ~overlaps(tried, _near(tried, np.delete(boxes, i, axis=0))).any(axis=1)
            if not free.any():
                continue
            moved, rows = tried[free.argmax()], np.flatnonzero(owner == i)
            inside = points[rows]
            inside[:, :3] -= boxes[i, :3]
            turn(inside, moved[6] - boxes[i, 6])
            inside[:, :3] += moved[:3]
            points[rows], boxes[i] = inside, moved
        boxes[:, 6] = wrap(boxes[:, 6])
        return frame.replace(points=points, boxes=boxes)


def _near(tried: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Those of the other boxes that any of the places tried can reach: usually few or none."""
    middle = tried[:, :2].mean(axis=0)
    reach = np.hypot(*(tried[:, :2] - middle).T).max() + np.hypot(*tried[0, 3:5]) / 2
    return others[np.hypot(*(others[:, :2] - middle).T) <= reach + np.hypot(*others[:, 3:5].T) / 2]


class GTSampling:
    """Fills the frame up with objects of other frames, at the places where they were seen.

    Yan et al., "SECOND: Sparsely Embedded Convolutional Detection", Sensors 2018, section 3.3.2. An object that would
    overlap another is left out; scan points inside those that are pasted are removed first.

    Args:
        database: objects to paste, see `GTDatabase`.
        groups: class names and the number of objects that a frame is filled up to; default `GROUPS` (PointPillars).
            SECOND: Car 12, Pedestrian 6, Cyclist 6; PointRCNN: 20, 15, 15.
        min_points: least points of an object by class; default `MIN_POINTS`; 5 for others.
        skip_difficulties: difficulties that are not pasted; by default -1, what is too hard to count in evaluation.

    Differences: mmdet3d goes through a shuffled list of each class, from one frame to the next; here each frame draws
    without replacement, so that a frame's augmentation depends on nothing but its generator.

    Raises:
        ConfigError: a group of a class that the database does not know.
    """

    def __init__(
        self,
        database: GTDatabase,
        groups: Mapping[str, int] | None = None,
        min_points: Mapping[str, int] | None = None,
        skip_difficulties: Sequence[int] = (-1,),
    ) -> None:
        groups, least = GROUPS if groups is None else groups, MIN_POINTS if min_points is None else min_points
        if groups is GROUPS:
            groups = {name: count for name, count in GROUPS.items() if name in database.classes}
        if unknown := sorted(set(groups) - set(database.classes)):
            raise ConfigError(f"GTSampling: the database has no class {', '.join(unknown)}; it has {database.classes}.")
        self.database = database
        self.pools = [
            (database.classes.index(name), count, database.rows(name, least.get(name, 5), skip_difficulties))
            for name, count in groups.items()
        ]

    def __call__(self, frame: Frame, rng: np.random.Generator) -> Frame:
        boxes, labels, chosen = frame.boxes, frame.labels, []
        if len(self.database) and self.database.boxes.shape[1] < boxes.shape[1]:
            raise DataError("GTSampling: boxes of the database have no velocities, those of the frame have.")
        for label, count, pool in self.pools:
            wanted = min(count - int((labels == label).sum()), len(pool))
            drawn = rng.choice(pool, max(wanted, 0), replace=False)
            kept = drawn[_apart(self.database.boxes[drawn], boxes)]
            boxes = np.concatenate([boxes, self.database.boxes[kept][:, : boxes.shape[1]]])
            labels = np.concatenate([labels, np.full(len(kept), label)])
            chosen += kept.tolist()
        if not chosen:
            return frame
        background = np.delete(
            frame.points, np.concatenate(rows_in_boxes(frame.points, boxes[len(frame.boxes) :])), axis=0
        )
        pasted = [self.database.points(row) for row in chosen]
        if pasted[0].shape[1] != background.shape[1]:
            raise DataError(
                f"GTSampling: points of frame {frame.frame_id} have {background.shape[1]} columns, those of the "
                f"database {pasted[0].shape[1]}."
            )
        return frame.replace(points=np.concatenate([*pasted, background]), boxes=boxes, labels=labels)


def _apart(drawn: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """[n] bool: which drawn boxes to keep so that they overlap neither `boxes` nor a kept one before them."""
    keep, among = ~np.any(overlaps(drawn, boxes), axis=1, keepdims=True)[:, 0], overlaps(drawn, drawn)
    for i in range(1, len(drawn)):
        keep[i] &= not (among[i, :i] & keep[:i]).any()
    return keep
