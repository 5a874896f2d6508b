"""nuScenes' LiDAR frames: scans merged over half a second, ten classes, boxes with velocities."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from structkd.datasets.points.boxes import transform
from structkd.datasets.points.crops import boxes_in_range, check_range, points_in_range
from structkd.datasets.points.frame import Frame
from structkd.datasets.points.infos import entry_of, read_infos
from structkd.datasets.points.kitti_files import read_points
from structkd.datasets.points.poses import boxes_to_global, invert, rigid
from structkd.errors import ConfigError, DataError
from structkd.evaluation.nuscenes import ATTRIBUTES, CLASSES, NuScenesBoxes

#: Columns of a scan file: x, y, z, intensity 0 to 255, ring.
COLUMNS = 5
#: A sweep is never this many seconds away from its sample; then the times have different units.
MAX_LAG = 10.0


@dataclass(frozen=True, eq=False)
class NuScenesInfo:
    """One sample of an info file.

    Attributes:
        token: of the sample.
        path: file of its scan, as written in the info file.
        lidar_to_ego, ego_to_global: [4, 4] at the time of the scan.
        sweeps: earlier scans, the latest first: file, transform [4, 4] into the frame of the sample's scan, and lag in
            seconds.
        boxes: [M, 9] float64 LiDAR boxes, NaN for unknown velocities; labels: [M] index into `CLASSES`.
        num_points: [M] points of LiDAR and radar; attribute: [M] index into `ATTRIBUTES`, -1 for none.
    """

    token: str
    path: str
    lidar_to_ego: np.ndarray
    ego_to_global: np.ndarray
    sweeps: tuple[tuple[str, np.ndarray, float], ...]
    boxes: np.ndarray
    labels: np.ndarray
    num_points: np.ndarray
    attribute: np.ndarray

    @property
    def lidar_to_global(self) -> np.ndarray:
        """[4, 4]."""
        return self.ego_to_global @ self.lidar_to_ego


class NuScenesFrames(Sequence[Frame]):
    """Frames of an info file, such as `tools/create_data.py nuscenes` or mmdet3d 1.x's converter writes.

    Points have five columns: x, y, z, reflectance, and how long before the sample they were measured, in seconds.
    Boxes have nine, the last two a velocity in metres a second (0 where it is not known).

    Args:
        root: folder with `samples/LIDAR_TOP` and `sweeps/LIDAR_TOP`; a folder with the scans themselves will do.
        infos: the info file, taken relative to `root` if it is not there otherwise.
        sweeps: scans merged into a frame, the sample's own included: 1 is that alone. Frames at the beginning of a
            scene have fewer.
        classes: names of the ten classes, in the order of `labels`; others are left out.
        min_distance: returns this near to the sensor along both x and y, in metres, are of the vehicle itself and
            left out.
        max_reflectance: full scale of the fourth column; 1 as elsewhere in this library, 255 as in the files, which
            detectors trained by mmdet3d expect.
        empty_boxes: keep boxes without LiDAR and radar points, which the metric does not count.
        point_range: x0, y0, z0, x1, y1, z1 in metres, as in `KittiFrames`.

    Raises:
        DataError: a missing or wrong info file, at once; missing or damaged scans, when a frame is read.
        ConfigError: an argument out of range, a class nuScenes does not know.

    Differences: the frame is the sensor's, as in mmdet3d and OpenPCDet: x points to the RIGHT of the vehicle and y
    ahead; yaw turns counter-clockwise from x. mmdet3d's `sweeps_num=10` adds ten scans to the sample's own, which is
    `sweeps=11` here, and draws which ones in training. Its loader moves sweeps by the turned instead of the plain
    translation (`lidar2sensor` is meant to be inverted as a whole), which differs by the turn between two scans times
    the way driven.
    """

    def __init__(
        self,
        root: str | Path,
        infos: str | Path,
        sweeps: int = 10,
        classes: Sequence[str] = CLASSES,
        min_distance: float = 1.0,
        max_reflectance: float = 1.0,
        empty_boxes: bool = False,
        point_range: Sequence[float] | None = None,
    ) -> None:
        unknown = [name for name in classes if name not in CLASSES]
        if isinstance(classes, str) or not classes or unknown or len(set(classes)) != len(classes):
            raise ConfigError(f"classes is {classes!r}; expected a list of different ones of {', '.join(CLASSES)}.")
        if sweeps < 1 or min_distance < 0 or max_reflectance <= 0:
            raise ConfigError(
                f"sweeps is {sweeps}, min_distance {min_distance} and max_reflectance {max_reflectance}; expected at "
                "least 1, at least 0, more than 0."
            )
        self.root, self.classes, self.sweeps = Path(root), tuple(classes), sweeps
        self.min_distance, self.max_reflectance, self.empty_boxes = min_distance, max_reflectance, empty_boxes
        self.point_range = None if point_range is None else check_range(point_range)
        self.infos = read_nuscenes_infos(infos if Path(infos).is_file() else self.root / infos)

    def __len__(self) -> int:
        return len(self.infos)

    @overload
    def __getitem__(self, index: int) -> Frame: ...

    @overload
    def __getitem__(self, index: slice) -> list[Frame]: ...

    def __getitem__(self, index: int | slice) -> Frame | list[Frame]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        info = self.infos[index]
        points = np.concatenate(
            [
                self._scan(info.path, np.eye(4), 0.0),
                *(self._scan(*sweep) for sweep in info.sweeps[: self.sweeps - 1]),
            ]
        )
        number = np.array([self.classes.index(name) if name in self.classes else -1 for name in CLASSES])
        labels = number[info.labels]
        kept = (labels >= 0) & (self.empty_boxes | (info.num_points != 0))
        boxes = np.nan_to_num(info.boxes[kept]).astype(np.float32)
        labels = labels[kept]
        if self.point_range is not None:
            points, inside = points[points_in_range(points, self.point_range)], boxes_in_range(boxes, self.point_range)
            boxes, labels = boxes[inside], labels[inside]
        return Frame(points, boxes, labels, info.token)

    def _scan(self, path: str, to_lidar: np.ndarray, lag: float) -> np.ndarray:
        """[P, 5] float32 of a scan in the frame of the sample's."""
        points = read_points(self._file(path), COLUMNS)
        own = np.all(np.abs(points[:, :2]) < self.min_distance, axis=1)
        points = points[~own]
        place = transform(points[:, :3].astype(np.float64), to_lidar)
        reflectance = points[:, 3:4] * np.float32(self.max_reflectance / 255)
        lags = np.full((len(points), 1), lag)
        return np.concatenate([place, reflectance, lags], axis=1).astype(np.float32)

    def _file(self, path: str) -> Path:
        """Where a scan is: info files name it by its path from another folder, or by its name alone."""
        name = Path(path).name
        folders = [self.root / "samples" / "LIDAR_TOP", self.root / "sweeps" / "LIDAR_TOP", self.root]
        for candidate in (self.root / path, *(folder / name for folder in folders)):
            if os.path.isfile(candidate):  # also where the name is none that a file can have
                return candidate
        raise DataError(f"There is no scan {name[:100]} in {', '.join(map(str, folders))}.")

    def labels(self) -> NuScenesBoxes:
        """All boxes of the ten classes in the global frame: what `NuScenesEvaluation` compares with.

        Differences: info files know no bicycle racks, so (motor)cycles in them count; the tables do
        (`structkd.datasets.points.nuscenes_labels`). Those written by mmdet3d have no attributes either.
        """
        parts = [boxes_to_global(info.boxes, info.lidar_to_global) for info in self.infos]
        center, size, rotation, velocity = (np.concatenate(columns) for columns in zip(*parts))
        return NuScenesBoxes(
            tuple(info.token for info in self.infos),
            np.repeat(np.arange(len(self.infos)), [len(info.boxes) for info in self.infos]),
            np.concatenate([info.labels for info in self.infos]),
            center,
            size,
            rotation,
            velocity,
            attribute=np.concatenate([info.attribute for info in self.infos]),
            num_points=np.concatenate([info.num_points for info in self.infos]),
            ego=np.stack([info.ego_to_global[:3, 3] for info in self.infos]),
        )


def read_nuscenes_infos(path: str | Path) -> list[NuScenesInfo]:
    """The samples of an info file such as `nuscenes_infos_train.pkl`.

    Raises:
        DataError: as `structkd.datasets.points.infos.read_infos`; a sample that lacks an entry or holds a wrong one;
            samples that occur twice; no sample.
    """
    metainfo, data_list = read_infos(path)
    names = {number: name for name, number in metainfo["categories"].items() if number >= 0}
    label = {number: CLASSES.index(name) for number, name in names.items() if name in CLASSES}
    infos: list[NuScenesInfo] = []
    for row, entry in enumerate(data_list):
        with entry_of(path, row):
            infos.append(_info(entry, label))
    if len({info.token for info in infos}) != len(infos):
        raise DataError(f"{path} lists samples twice.")
    if not infos:
        raise DataError(f"{path} has an empty data_list; expected one entry a sample.")
    return infos


def _info(entry: Mapping[str, Any], label: Mapping[int, int]) -> NuScenesInfo:
    scan = entry["lidar_points"]
    sweeps = []
    for sweep in entry.get("lidar_sweeps", []):
        lag = float(entry["timestamp"]) - float(sweep["timestamp"])
        if not abs(lag) < MAX_LAG:
            raise DataError(f"a sweep is {lag:g} s before its sample; expected less than {MAX_LAG:g}")
        to_lidar = invert(rigid(sweep["lidar_points"]["lidar2sensor"], "lidar2sensor"))
        sweeps.append((str(sweep["lidar_points"]["lidar_path"]), to_lidar, lag))
    instances = [instance for instance in entry.get("instances", []) if instance["bbox_label_3d"] in label]
    boxes = np.array([[*instance["bbox_3d"][:7], *instance["velocity"]] for instance in instances], dtype=np.float64)
    boxes = boxes.reshape(len(instances), 9)
    if not np.isfinite(boxes[:, :7]).all() or np.isinf(boxes).any() or (boxes[:, 3:6] <= 0).any():
        raise DataError("an instance has a box that is not finite or whose size is not positive")
    boxes[:, 2] -= boxes[:, 5] / 2  # these files speak of the middle of boxes
    points = [int(instance["num_lidar_pts"]) + int(instance.get("num_radar_pts", 0)) for instance in instances]
    # mmdet3d numbers attributes in the order of `ATTRIBUTES`, and what comes after them is none.
    attribute = [int(instance.get("attr_label", -1)) for instance in instances]
    if not all(-1 <= number <= len(ATTRIBUTES) for number in attribute):
        raise DataError(f"an instance has an attr_label that is not from -1 to {len(ATTRIBUTES)}")
    return NuScenesInfo(
        str(entry["token"]),
        str(scan["lidar_path"]),
        rigid(scan["lidar2ego"], "lidar2ego"),
        rigid(entry["ego2global"], "ego2global"),
        tuple(sweeps),
        boxes,
        np.array([label[instance["bbox_label_3d"]] for instance in instances], dtype=np.int64),
        np.array(points, dtype=np.int64),
        np.array([-1 if number == len(ATTRIBUTES) else number for number in attribute], dtype=np.int64),
    )
