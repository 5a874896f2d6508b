"""What is computed from KITTI's folders once: reduced scans, info files and a database of objects.

Names and contents are those of mmdet3d 1.x, which can read them. Every step leaves alone what is there already, so an
interrupted one goes on where it stopped.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from structkd.datasets.points.boxes import boxes_to_lidar
from structkd.datasets.points.crops import in_camera_view
from structkd.datasets.points.gt_database import cut_out
from structkd.datasets.points.kitti import REDUCED, KittiFrames, lidar_boxes
from structkd.datasets.points.kitti_files import read_points
from structkd.datasets.points.kitti_infos import CATEGORIES, KittiInfo, difficulty, kitti_info
from structkd.datasets.progress import progress
from structkd.evaluation.kitti.objects import KittiObjects
from structkd.files import atomic_write_bytes

#: Types of the objects that a database holds; training takes those it asks for.
KINDS = tuple(CATEGORIES)
METAINFO = {"categories": CATEGORIES | {"DontCare": -1}, "dataset": "kitti", "info_version": "1.1"}


def splits_of(root: str | Path) -> list[str]:
    """Names of the split files there are."""
    return sorted(path.stem for path in (Path(root) / "ImageSets").glob("*.txt"))


def write_reduced(root: str | Path, split: str, show_progress: bool = True) -> int:
    """Write the scans of a split with only what the camera sees into `velodyne_reduced`; returns how many were new.

    They take a sixth of the space and the time to read.
    """
    frames = KittiFrames(root, split, camera_view=False)
    folder = frames.folder / REDUCED
    there = {path.stem for path in folder.glob("*.bin")}
    missing = [i for i, frame_id in enumerate(frames.frame_ids) if frame_id not in there]
    for i in progress(missing, len(missing), f"{split}: reduced scans", show_progress):
        points = read_points(frames.folder / "velodyne" / f"{frames.frame_ids[i]}.bin")
        seen = points[in_camera_view(points, frames.calibration(i), frames.image_size(i))]
        atomic_write_bytes(folder / f"{frames.frame_ids[i]}.bin", seen.astype("<f4").tobytes(), durable=False)
    return len(missing)


def write_infos(root: str | Path, split: str, show_progress: bool = True) -> Path:
    """Write `kitti_infos_SPLIT.pkl`: calibrations and objects of a split; returns its path."""
    path = Path(root) / f"kitti_infos_{split}.pkl"
    if path.is_file():
        return path
    frames, data_list = KittiFrames(root, split, KINDS), []
    for i in progress(range(len(frames)), len(frames), f"{split}: infos", show_progress):
        calibration, num_points = frames.calibration(i), None
        objects = frames.annotations(i) if frames.labelled else KittiObjects.concatenate([])
        if frames.labelled:
            real = ~objects.dont_care
            boxes = boxes_to_lidar(objects.camera_boxes[real], calibration.lidar_to_camera)
            num_points = np.full(len(objects), -1)
            num_points[real] = [len(part) for part in cut_out(frames[i].points, boxes)]
        info = KittiInfo(frames.frame_ids[i], objects, calibration, frames.image_size(i))
        data_list.append(kitti_info(info, num_points))
    return atomic_write_bytes(path, pickle.dumps({"metainfo": METAINFO, "data_list": data_list}, 4))


def write_gt_database(root: str | Path, split: str = "train", show_progress: bool = True) -> Path:
    """Write `kitti_gt_database` and `kitti_dbinfos_SPLIT.pkl` for `GTDatabase.read`; returns the latter's path."""
    root = Path(root)
    path = root / f"kitti_dbinfos_{split}.pkl"
    if path.is_file():
        return path
    frames = KittiFrames(root, split, KINDS)
    infos: dict[str, list[dict[str, Any]]] = {name: [] for name in KINDS}
    for i in progress(range(len(frames)), len(frames), f"{split}: objects", show_progress):
        for name, info in _objects_of(root, frames, i):
            infos[name].append(info)
    return atomic_write_bytes(path, pickle.dumps(infos, 4))


def _objects_of(root: Path, frames: KittiFrames, i: int) -> list[tuple[str, dict[str, Any]]]:
    """The entries of one frame's objects, whose points are written where they are not there yet."""
    objects, number = frames.annotations(i), int(frames.frame_ids[i])
    objects = objects[np.isin(objects.kind, [name.lower() for name in KINDS])]
    boxes, labels = lidar_boxes(objects, frames.calibration(i), KINDS)
    names = [KINDS[label] for label in labels]
    paths = [f"kitti_gt_database/{number}_{name}_{row}.bin" for row, name in enumerate(names)]
    if not all((root / path).is_file() for path in paths):
        for path, points in zip(paths, cut_out(frames[i].points, boxes)):
            atomic_write_bytes(root / path, points.astype("<f4").tobytes(), durable=False)
    level = difficulty(objects)
    return [
        (
            name,
            dict(
                name=name,
                path=paths[row],
                image_idx=number,
                gt_idx=row,
                box3d_lidar=boxes[row],
                num_points_in_gt=(root / paths[row]).stat().st_size // 16,
                difficulty=int(level[row]),
                group_id=row,
                score=0.0,
            ),
        )
        for row, name in enumerate(names)
    ]
