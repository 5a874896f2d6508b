"""KITTI frames in mmdet3d 1.x's info files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from structkd.datasets.points.boxes import project
from structkd.datasets.points.infos import entry_of, read_infos
from structkd.datasets.points.kitti_files import Calibration
from structkd.errors import DataError
from structkd.evaluation.kitti.criteria import DIFFICULTIES
from structkd.evaluation.kitti.objects import UNKNOWN, KittiObjects

#: Numbers of the types of objects, as mmdet3d 1.x has them; DontCare and unknown types are -1.
CATEGORIES = {
    name: number
    for number, name in enumerate(("Pedestrian", "Cyclist", "Car", "Van", "Truck", "Person_sitting", "Tram", "Misc"))
}


@dataclass(frozen=True, eq=False)
class KittiInfo:
    """One frame of an info file: its id, objects, calibration and the width and height of its picture."""

    frame_id: str
    objects: KittiObjects
    calibration: Calibration
    image_size: tuple[int, int]


def read_kitti_infos(path: str | Path) -> list[KittiInfo]:
    """The frames of an info file such as `kitti_infos_train.pkl`.

    Raises:
        DataError: as `structkd.datasets.points.infos.read_infos`; a frame that lacks an entry, holds numbers that are
            not finite, or sizes that are not positive; frames that occur twice.
    """
    metainfo, data_list = read_infos(path)
    # mmdet3d lists what it does not count, such as DontCare, with the number -1.
    names = {number: name for name, number in metainfo["categories"].items() if number >= 0}
    infos: list[KittiInfo] = []
    for row, entry in enumerate(data_list):
        with entry_of(path, row):
            infos.append(_frame(entry, names))
    if len({info.frame_id for info in infos}) != len(infos):
        raise DataError(f"{path} lists frames twice.")
    if not infos:
        raise DataError(f"{path} has an empty data_list; expected one entry a frame.")
    return infos


def _frame(entry: Mapping[str, Any], names: Mapping[int, str]) -> KittiInfo:
    camera = entry["images"]["CAM2"]
    calibration = Calibration(_matrix(camera["cam2img"], "cam2img")[:3], _matrix(camera["lidar2cam"], "lidar2cam"))
    size = int(camera["width"]), int(camera["height"])
    if min(size) < 1:
        raise DataError(f"the picture measures {size[0]} x {size[1]} pixels")
    return KittiInfo(f"{int(entry['sample_idx']):06d}", _objects(entry.get("instances", []), names), calibration, size)


def _objects(instances: list[Mapping[str, Any]], names: Mapping[int, str]) -> KittiObjects:
    types = [names.get(instance["bbox_label"], "DontCare") for instance in instances]
    camera_boxes = _table([instance["bbox_3d"] for instance in instances], 7)
    objects = KittiObjects.from_boxes(
        types,
        camera_boxes,
        _table([instance["bbox"] for instance in instances], 4),
        truncated=_table([[instance["truncated"]] for instance in instances], 1)[:, 0],
        occluded=_table([[instance["occluded"]] for instance in instances], 1)[:, 0],
    )
    objects.rows[:, 2] = _table([[instance["alpha"]] for instance in instances], 1)[:, 0]
    objects.rows[:, 13] = camera_boxes[:, 6]
    dont_care = objects.dont_care
    objects.rows[dont_care, :3], objects.rows[dont_care, 7:] = UNKNOWN[:3], UNKNOWN[7:]
    if (objects.rows[~dont_care, 7:10] <= 0).any():
        raise DataError("an instance has a size that is not positive")
    return objects


def _table(rows: list[Any], columns: int) -> np.ndarray:
    """[N, columns] float64 of finite numbers."""
    table = np.array(rows, dtype=np.float64).reshape(len(rows), columns)
    if not np.isfinite(table).all():
        raise DataError("an instance holds a number that is not finite")
    return table


def _matrix(value: Any, name: str) -> np.ndarray:
    """A [4, 4] matrix; three rows get the fourth."""
    matrix = np.array(value, dtype=np.float64)
    if matrix.shape == (3, 4):
        matrix = np.concatenate([matrix, [[0, 0, 0, 1]]])
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise DataError(f"{name} is {list(matrix.shape)}; expected 4 x 4 finite numbers")
    return matrix


def difficulty(objects: KittiObjects) -> np.ndarray:
    """[N] int64: 0 easy, 1 moderate, 2 hard, -1 too hard to count; as mmdet3d has it.

    Differences: an object of exactly the least height does not count here, while the official evaluation counts it.
    """
    level = np.full(len(objects), -1)
    for number, limits in reversed(list(enumerate(DIFFICULTIES))):
        counts = (objects.image_height > limits.min_height) & (objects.occluded <= limits.max_occlusion)
        level[counts & (objects.truncated <= limits.max_truncation)] = number
    level[objects.dont_care] = -1
    return level


def kitti_info(info: KittiInfo, num_points: np.ndarray | None) -> dict[str, Any]:
    """An entry of `data_list`.

    Args:
        info: the frame. num_points: [N] points in the box of each object, -1 for DontCare; None without labels.

    Differences: mmdet3d's converter also writes the other cameras and, for image detectors, `cam_instances`.
    """
    projection = np.concatenate([info.calibration.projection, [[0, 0, 0, 1]]])
    width, height = info.image_size
    camera = dict(
        img_path=f"{info.frame_id}.png",
        height=height,
        width=width,
        cam2img=projection.tolist(),
        lidar2cam=info.calibration.lidar_to_camera.tolist(),
        lidar2img=(projection @ info.calibration.lidar_to_camera).tolist(),
    )
    return dict(
        sample_idx=int(info.frame_id),
        images=dict(CAM2=camera),
        lidar_points=dict(num_pts_feats=4, lidar_path=f"{info.frame_id}.bin"),
        instances=[] if num_points is None else _instances(info, num_points),
    )


def _instances(info: KittiInfo, num_points: np.ndarray) -> list[dict[str, Any]]:
    objects, boxes = info.objects, info.objects.camera_boxes
    middle = boxes[:, :3] - np.stack([0 * boxes[:, 4], boxes[:, 4] / 2, 0 * boxes[:, 4]], axis=1)
    pixels, depth = project(middle, info.calibration.projection)
    level = difficulty(objects)
    return [
        dict(
            bbox=objects.image_boxes[i].tolist(),
            bbox_label=CATEGORIES.get(str(objects.type[i]), -1),
            bbox_3d=boxes[i].tolist(),
            bbox_label_3d=CATEGORIES.get(str(objects.type[i]), -1),
            center_2d=pixels[i].tolist(),
            depth=float(depth[i]),
            truncated=float(objects.truncated[i]),
            occluded=int(objects.occluded[i]),
            alpha=float(objects.alpha[i]),
            score=0.0,
            index=-1 if objects.dont_care[i] else i,
            group_id=i,
            difficulty=int(level[i]),
            num_lidar_pts=int(num_points[i]),
        )
        for i in range(len(objects))
    ]
