"""Labelled objects cut out of their frames, to be pasted into others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from structkd.datasets.pickles import read_pickle
from structkd.datasets.points.frame import Frames
from structkd.datasets.points.inside import rows_in_boxes
from structkd.datasets.points.kitti import CLASSES, KittiFrames, lidar_boxes
from structkd.datasets.points.kitti_files import read_points
from structkd.datasets.points.kitti_infos import difficulty
from structkd.errors import DataError, reason


class GTDatabase:
    """Objects with their points.

    Attributes:
        classes: names that `labels` index.
        boxes: [N, 7 or 9] float32 LiDAR boxes, where they were seen. labels: [N] int64.
        difficulty: [N] int64, KITTI's 0 to 2, -1 too hard; 0 where there is none.
        num_points: [N] int64.
    """

    def __init__(
        self,
        classes: Sequence[str],
        boxes: np.ndarray,
        labels: np.ndarray,
        difficulty: np.ndarray,
        num_points: np.ndarray,
        sources: Sequence[np.ndarray | Path],
        columns: int = 4,
    ) -> None:
        self.classes, self.boxes, self.labels = tuple(classes), boxes, labels
        self.difficulty, self.num_points, self.columns = difficulty, num_points, columns
        #: Of each object: points [n, C] relative to the bottom centre of the box, or the file that holds them.
        self.sources = list(sources)

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def build(cls, frames: Frames) -> GTDatabase:
        """Cuts the objects of all frames out, in memory: about 10 MB for 3,000 objects.

        Args:
            frames: training frames. Difficulties are KITTI's if these are KITTI frames, else 0.
        """
        boxes, labels, levels, sources = [np.empty((0, 7), np.float32)], [], [], []
        for i in range(len(frames)):
            frame = frames[i]
            found, kinds, level = frame.boxes, frame.labels, np.zeros(len(frame.boxes), np.int64)
            if isinstance(frames, KittiFrames):
                objects = frames.annotations(i)
                found, kinds = lidar_boxes(objects, frames.calibration(i), frames.classes)
                wanted = np.isin(objects.kind, [name.lower() for name in frames.classes])
                level = difficulty(objects[np.flatnonzero(wanted)])
            boxes.append(found)
            labels.append(kinds)
            levels.append(level)
            sources += cut_out(frame.points, found)
        columns = max(len(box[0]) for box in boxes if len(box)) if any(map(len, boxes)) else 7
        return cls(
            frames.classes,
            np.concatenate([box for box in boxes if len(box)] or [np.empty((0, columns), np.float32)]),
            np.concatenate([np.empty(0, np.int64), *labels]),
            np.concatenate([np.empty(0, np.int64), *levels]),
            np.array([len(points) for points in sources], dtype=np.int64),
            sources,
        )

    @classmethod
    def read(cls, path: str | Path, classes: Sequence[str] = CLASSES, columns: int = 4) -> GTDatabase:
        """A database on the disk, as `tools/create_data.py` and mmdet3d write it; points are read when needed.

        Args:
            path: such as `kitti_dbinfos_train.pkl`; the paths of the points are relative to its folder.
            classes: names to take. columns: numbers of a point.

        Raises:
            DataError: a damaged file, one that holds anything but data, an entry that lacks something.
        """
        path = Path(path)
        infos = read_pickle(path)
        if not isinstance(infos, dict) or not all(isinstance(entries, list) for entries in infos.values()):
            raise DataError(
                f"{path} holds a {type(infos).__name__}; expected a dict of class names and lists of objects."
            )
        entries: list[tuple[int, dict[str, Any]]] = [
            (label, entry) for label, name in enumerate(classes) for entry in infos.get(name, [])
        ]
        try:
            boxes = np.array([entry["box3d_lidar"] for _, entry in entries], dtype=np.float32)
            boxes = boxes.reshape(len(entries), -1 if entries else 7)
            level = np.array([int(entry.get("difficulty", 0)) for _, entry in entries], dtype=np.int64)
            count = np.array([int(entry["num_points_in_gt"]) for _, entry in entries], dtype=np.int64)
            sources = [path.parent / str(entry["path"]) for _, entry in entries]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(
                f"{path}: an object has a missing or wrong entry ({reason(error)}); expected box3d_lidar, difficulty, "
                "num_points_in_gt and path."
            ) from error
        if boxes.shape[1] not in (7, 9) or not np.isfinite(boxes[:, :7]).all():
            raise DataError(f"{path}: boxes are {list(boxes.shape)}; expected 7 or 9 finite numbers each.")
        labels = np.array([label for label, _ in entries], dtype=np.int64)
        return cls(classes, boxes, labels, level, count, sources, columns)

    def rows(self, name: str, min_points: int, skip_difficulties: Sequence[int]) -> np.ndarray:
        """Rows of a class with at least so many points, except for some difficulties."""
        chosen = (self.labels == self.classes.index(name)) & (self.num_points >= min_points)
        return np.flatnonzero(chosen & ~np.isin(self.difficulty, list(skip_difficulties)))

    def points(self, row: int) -> np.ndarray:
        """[n, C] float32 points of an object, where it was seen."""
        source = self.sources[row]
        points = read_points(source, self.columns) if isinstance(source, Path) else source.copy()
        points[:, :3] += self.boxes[row, :3]
        return points


def cut_out(points: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
    """For each box the points in it, relative to its bottom centre."""
    parts = [points[rows] for rows in rows_in_boxes(points, boxes)]
    for part, box in zip(parts, boxes):
        part[:, :3] -= box[:3]
    return parts
