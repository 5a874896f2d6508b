"""KITTI's object detection frames, or a folder of one's own in their layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np

from structkd.datasets.points.boxes import boxes_to_lidar
from structkd.datasets.points.crops import boxes_in_range, check_range, in_camera_view, points_in_range
from structkd.datasets.points.frame import Frame
from structkd.datasets.points.images import image_size
from structkd.datasets.points.kitti_files import Calibration, read_calibration, read_labels, read_points, read_split
from structkd.datasets.points.kitti_infos import KittiInfo, read_kitti_infos
from structkd.errors import ConfigError, DataError
from structkd.evaluation.kitti.objects import KittiObjects

CLASSES = ("Car", "Pedestrian", "Cyclist")
#: What most pictures of KITTI measure, in pixels; taken where there is no picture.
IMAGE_SIZE = (1242, 375)
#: Folder with the points in the camera's view alone, beside `velodyne`; `tools/create_data.py` makes it.
REDUCED = "velodyne_reduced"


class KittiFrames(Sequence[Frame]):
    """Frames in the official folder layout.

    ```
    root/ImageSets/train.txt, val.txt, ...     one frame id a line
    root/training/velodyne/000000.bin          float32 x, y, z, reflectance
    root/training/label_2/000000.txt
    root/training/calib/000000.txt
    root/training/image_2/000000.png           optional (or .jpg); only their size is read
    root/testing/...                           the same without label_2
    ```

    Args:
        root: folder with `training`, or a folder that holds `velodyne` itself.
        split: name of a file of ImageSets; "all" takes every frame that has a scan. "test" reads from `testing` where
            that folder exists.
        classes: types of objects in `boxes`, in the order of `labels`; capitals do not matter. Others are left out
            of `boxes`, but stay in `annotations`.
        camera_view: keep only points within the picture, as is usual because nothing else is labelled. Where
            `velodyne_reduced` holds a frame, that is read.
        point_range: x0, y0, z0, x1, y1, z1 in metres: points outside of it and boxes whose centre is (as seen from
            above) are left out.
        infos: an info file of mmdet3d 1.x (`kitti_infos_train.pkl`) that tells the frames, their calibrations and
            their objects instead of split, calib and label_2; scans are read from `root` by their ids.

    Raises:
        DataError: at once for missing folders, split files, scans, calibrations and labels; when a frame is read for
            what is wrong in its files (see `kitti_files`).
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        classes: Sequence[str] = CLASSES,
        camera_view: bool = True,
        point_range: Sequence[float] | None = None,
        infos: str | Path | None = None,
    ) -> None:
        self.root, self.split, self.classes = Path(root), split, tuple(classes)
        self.camera_view = camera_view
        self.point_range = None if point_range is None else check_range(point_range)
        if isinstance(classes, str) or len({name.lower() for name in self.classes}) != len(self.classes) or not classes:
            raise ConfigError(f"classes is {classes!r}; expected a list of different names, such as {list(CLASSES)}.")
        self.folder = frame_folder(self.root, split)
        self._infos: list[KittiInfo] | None = None
        if infos is not None:
            self._infos = read_kitti_infos(infos)
            self.frame_ids = [info.frame_id for info in self._infos]
        else:
            self.frame_ids = split_ids(self.root, self.folder, split)
        self.labelled = self._infos is not None or (self.folder / "label_2").is_dir()
        self._reduced = _stems(self.folder / REDUCED, (".bin",)) if camera_view else {}
        self._images = _stems(self.folder / "image_2", (".png", ".jpg", ".jpeg"))
        self._check_files()

    def __len__(self) -> int:
        return len(self.frame_ids)

    @overload
    def __getitem__(self, index: int) -> Frame: ...

    @overload
    def __getitem__(self, index: slice) -> list[Frame]: ...

    def __getitem__(self, index: int | slice) -> Frame | list[Frame]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        frame_id, calibration, size = self.frame_ids[index], self.calibration(index), self.image_size(index)
        points = read_points(self._reduced.get(frame_id, self.folder / "velodyne" / f"{frame_id}.bin"))
        if self.camera_view and frame_id not in self._reduced:
            points = points[in_camera_view(points, calibration, size)]
        boxes, labels = np.empty((0, 7), np.float32), np.empty(0, np.int64)
        if self.labelled:
            boxes, labels = lidar_boxes(self.annotations(index), calibration, self.classes)
        if self.point_range is not None:
            points, kept = points[points_in_range(points, self.point_range)], boxes_in_range(boxes, self.point_range)
            boxes, labels = boxes[kept], labels[kept]
        return Frame(points, boxes, labels, frame_id, calibration, size)

    def annotations(self, index: int) -> KittiObjects:
        """All objects of a frame, of any type and place, as its label file has them: what evaluation needs.

        Raises:
            DataError: the frames have no labels, or what `read_labels` finds wrong.
        """
        if self._infos is not None:
            return self._infos[index].objects
        if not self.labelled:
            raise DataError(f"{self.folder} has no label_2: the frames of split '{self.split}' cannot be evaluated.")
        return read_labels(self.folder / "label_2" / f"{self.frame_ids[index]}.txt")

    def calibration(self, index: int) -> Calibration:
        """The calibration of a frame."""
        if self._infos is not None:
            return self._infos[index].calibration
        return read_calibration(self.folder / "calib" / f"{self.frame_ids[index]}.txt")

    def image_size(self, index: int) -> tuple[int, int]:
        """Width and height of a frame's picture in pixels; `IMAGE_SIZE` where there is none."""
        if self._infos is not None:
            return self._infos[index].image_size
        path = self._images.get(self.frame_ids[index])
        return IMAGE_SIZE if path is None else image_size(path)

    def _check_files(self) -> None:
        needed = [("velodyne", ".bin")]
        if self._infos is None:
            needed += [("calib", ".txt"), *([("label_2", ".txt")] if self.labelled else [])]
        for name, suffix in needed:
            there = _stems(self.folder / name, (suffix,))
            if name == "velodyne":
                there |= self._reduced
            if missing := [frame_id for frame_id in self.frame_ids if frame_id not in there]:
                raise DataError(
                    f"There is no file {self.folder / name / (missing[0] + suffix)}; {len(missing)} of "
                    f"{len(self.frame_ids)} frames of split '{self.split}' have none."
                )


def frame_folder(root: str | Path, split: str) -> Path:
    """The folder of `root` with the frames of a split: `testing`, `training`, or `root` itself.

    Raises:
        DataError: none of them holds `velodyne`.
    """
    root = Path(root)
    candidates = [root / "training", root]
    if split == "test":
        candidates.insert(0, root / "testing")
    for folder in candidates:
        if (folder / "velodyne").is_dir() or (folder / REDUCED).is_dir():
            return folder
    raise DataError(
        f"There is no folder {root / 'training' / 'velodyne'}; expected KITTI's layout: training/velodyne, "
        "training/calib and training/label_2, or these three in the folder itself."
    )


def split_ids(root: Path, folder: Path, split: str) -> list[str]:
    """The frame ids of a split: of ImageSets/SPLIT.txt, or for "all" of every scan, in order."""
    if split == "all":
        ids = sorted({*_stems(folder / "velodyne", (".bin",)), *_stems(folder / REDUCED, (".bin",))})
        if not ids:
            raise DataError(f"{folder / 'velodyne'} holds no scan; expected files such as 000000.bin.")
        return ids
    path = root / "ImageSets" / f"{split}.txt"
    if not path.is_file():
        there = sorted(_stems(root / "ImageSets", (".txt",)))
        raise DataError(
            f"There is no split file {path}; {'there are ' + ', '.join(there) if there else 'there is none at all'}. "
            "Write one with a frame id a line, or take all frames with split='all'."
        )
    return read_split(path)


def lidar_boxes(
    objects: KittiObjects, calibration: Calibration, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """LiDAR boxes [M, 7] float32 and labels [M] int64 of the objects that are of one of the classes."""
    number = {name.lower(): i for i, name in enumerate(classes)}
    labels = np.array([number.get(kind, -1) for kind in objects.kind.tolist()], dtype=np.int64)
    wanted = labels >= 0
    boxes = boxes_to_lidar(objects.camera_boxes[wanted], calibration.lidar_to_camera)
    return boxes.astype(np.float32), labels[wanted]


def _stems(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """The files of a folder with one of the suffixes, by their names without it; none if there is no such folder."""
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in folder.iterdir() if path.suffix.lower() in suffixes}
