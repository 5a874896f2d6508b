"""Info files of nuScenes: what mmdet3d 1.x's converter writes, made from the tables without the devkit."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from structkd.datasets.points.infos import read_infos
from structkd.datasets.points.nuscenes_tables import DETECTED, NuScenesTables, Row
from structkd.datasets.points.poses import boxes_from_global, invert
from structkd.datasets.progress import progress
from structkd.errors import ConfigError, DataError
from structkd.files import atomic_write_bytes

#: Numbers of the classes, as mmdet3d has them; what is not detected is left out.
CATEGORIES = {
    "car": 0,
    "truck": 1,
    "trailer": 2,
    "bus": 3,
    "construction_vehicle": 4,
    "bicycle": 5,
    "motorcycle": 6,
    "pedestrian": 7,
    "traffic_cone": 8,
    "barrier": 9,
}
#: Scans kept before each sample's own: half a second at 20 Hz.
MAX_SWEEPS = 10
#: Splits of each version, and the names of their files.
SPLITS = {"v1.0-mini": ("train", "val"), "v1.0-trainval": ("train", "val"), "v1.0-test": ("test",)}


def write_nuscenes_infos(
    root: str | Path, version: str = "v1.0-trainval", splits: Sequence[str] | None = None, show_progress: bool = True
) -> list[Path]:
    """Write `nuscenes_infos_SPLIT.pkl` for each split; returns their paths. Files that are there are left alone.

    Args:
        root: folder with `samples`, `sweeps` and the tables in `root/version`.
        version: folder of the tables.
        splits: default: train and val, or test for the version of that name.
        show_progress: count on the error stream.

    Raises:
        ConfigError: an unknown version without splits.
        DataError: a file of another version is in the way; see also `NuScenesTables`.
    """
    if splits is None and version not in SPLITS:
        raise ConfigError(f"version is {version!r}; expected one of {', '.join(SPLITS)}.")
    paths = {split: Path(root) / f"nuscenes_infos_{split}.pkl" for split in splits or SPLITS[version]}
    missing = {split: path for split, path in paths.items() if not path.is_file()}
    for path in set(paths.values()) - set(missing.values()):
        if (found := read_infos(path)[0].get("version")) != version:
            raise DataError(f"{path} is of version {found}; move it away to make the one of {version}.")
    if missing:
        tables = NuScenesTables(root, version)
        for split, path in missing.items():
            tokens = tables.samples(split)
            numbered = progress(list(enumerate(tokens)), len(tokens), f"{split}: infos", show_progress)
            data_list = []
            for number, token in numbered:
                with tables.reading(f"sample {token}"):
                    data_list.append(nuscenes_info(tables, token, number))
            metainfo = dict(categories=CATEGORIES, dataset="nuscenes", version=version, info_version="1.1")
            atomic_write_bytes(path, pickle.dumps({"metainfo": metainfo, "data_list": data_list}, 4))
    return list(paths.values())


def nuscenes_info(tables: NuScenesTables, token: str, number: int) -> dict[str, Any]:
    """An entry of `data_list` for a sample.

    Differences: mmdet3d's converter also writes the cameras (`images`, `cam_instances`). Instances have `attr_label`
    here, without which attributes cannot be evaluated; there only those of the cameras do.
    """
    scan = tables.lidar(token)
    lidar_to_ego, ego_to_global = tables.poses(scan)
    sweeps: list[dict[str, Any]] = []
    earlier = scan
    while len(sweeps) < MAX_SWEEPS and (previous := tables.value("sample_data", earlier, "prev")):
        earlier = tables.get("sample_data", previous)
        sweeps.append(_sweep(tables, earlier, invert(ego_to_global @ lidar_to_ego)))
    info = dict(
        sample_idx=number,
        token=token,
        timestamp=_seconds(tables, scan),
        ego2global=ego_to_global.tolist(),
        lidar_points=dict(
            num_pts_feats=5,
            lidar_path=Path(tables.value("sample_data", scan, "filename")).name,
            lidar2ego=lidar_to_ego.tolist(),
        ),
        instances=_instances(tables, token, ego_to_global @ lidar_to_ego),
    )
    return info | ({"lidar_sweeps": sweeps} if sweeps else {})


def _sweep(tables: NuScenesTables, scan: Row, global_to_lidar: np.ndarray) -> dict[str, Any]:
    sensor_to_ego, ego_to_global = tables.poses(scan)
    sensor_to_lidar = global_to_lidar @ ego_to_global @ sensor_to_ego
    return dict(
        timestamp=_seconds(tables, scan),
        sample_data_token=scan["token"],
        ego2global=ego_to_global.tolist(),
        lidar_points=dict(
            lidar_path=str(tables.value("sample_data", scan, "filename")),
            lidar2ego=sensor_to_ego.tolist(),
            lidar2sensor=invert(sensor_to_lidar).tolist(),
        ),
    )


def _seconds(tables: NuScenesTables, scan: Row) -> float:
    return float(tables.value("sample_data", scan, "timestamp")) / 1e6


def _instances(tables: NuScenesTables, token: str, lidar_to_global: np.ndarray) -> list[dict[str, Any]]:
    rows = [row for row in tables.annotations.get(token, []) if tables.category(row) in DETECTED]
    velocity = np.array([tables.velocity(row) for row in rows]).reshape(-1, 2)
    center, size, rotation = tables.boxes(rows)
    boxes = boxes_from_global(center, size, rotation, velocity, lidar_to_global)
    boxes[:, 2] += boxes[:, 5] / 2  # these files speak of the middle of boxes
    lidar_points, radar_points = (tables.columns(rows, f"num_{kind}_pts", 0) for kind in ("lidar", "radar"))
    instances = []
    for i, row in enumerate(rows):
        number = CATEGORIES[DETECTED[tables.category(row)]]
        instances.append(
            dict(
                bbox_3d=boxes[i, :7].tolist(),
                bbox_label=number,
                bbox_label_3d=number,
                velocity=boxes[i, 7:].tolist(),
                num_lidar_pts=int(lidar_points[i]),
                num_radar_pts=int(radar_points[i]),
                bbox_3d_isvalid=bool(lidar_points[i] + radar_points[i] > 0),
                attr_label=tables.attribute(row),
            )
        )
    return instances
