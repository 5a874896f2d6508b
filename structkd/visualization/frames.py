"""All pictures of one frame, and boxes of files as pictures show them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from structkd.datasets.points.frame import Frame
from structkd.datasets.points.kitti import lidar_boxes
from structkd.datasets.points.kitti_files import Calibration
from structkd.datasets.points.nuscenes import NuScenesFrames
from structkd.datasets.points.poses import boxes_from_global
from structkd.errors import ConfigError, nearest
from structkd.evaluation.kitti.objects import KittiObjects
from structkd.evaluation.nuscenes import CLASSES, NuScenesBoxes
from structkd.visualization.camera import plot_camera
from structkd.visualization.scene_3d import Renderer, plot_scene_3d
from structkd.visualization.scene_boxes import SceneBoxes
from structkd.visualization.scenes import plot_birds_eye

#: Pictures of a frame: from above, in the camera's picture, in perspective.
VIEWS = ("bev", "image", "3d")


def plot_frame(
    folder: str | Path,
    frame: Frame,
    panels: Sequence[SceneBoxes],
    classes: Sequence[str],
    views: Sequence[str] = VIEWS,
    image: str | Path | None = None,
    renderer: Renderer = "auto",
    ahead: Literal["x", "y"] = "x",
) -> list[Path]:
    """Draw a frame's labels and what detectors found as FRAME_bev.png, FRAME_image.png and FRAME_3d.png.

    Args:
        folder: where to write.
        frame: points and labelled boxes.
        panels: what each detector found; none: the labels alone.
        classes: names of the classes.
        views: which of `VIEWS`; "image" is left out for frames without a picture or calibration.
        image: file of the camera's picture.
        renderer: see `plot_scene_3d`.
        ahead: the axis that points ahead.

    Returns:
        The paths. Raises ConfigError for an unknown view, and what the pictures raise.
    """
    for view in views:
        if view not in VIEWS:
            raise ConfigError(f"There is no view {view!r}. {nearest(view, VIEWS)}")
    labels = SceneBoxes("labels", frame.boxes, frame.labels)
    title, paths = f"frame {frame.frame_id}", []
    for view in views:
        path = Path(folder) / f"{frame.frame_id}_{view}.png"
        if view == "bev":
            plot_birds_eye(path, frame.points, panels, classes, labels, ahead=ahead, title=title)
        elif view == "3d":
            plot_scene_3d(path, frame.points, panels, classes, labels, renderer, ahead, title)
        elif image is not None and frame.calibration is not None:
            plot_camera(path, image, frame.calibration, panels, classes, labels, title)
        else:
            continue
        paths.append(path)
    return paths


def kitti_boxes(
    title: str, objects: KittiObjects, calibration: Calibration, classes: Sequence[str], min_score: float = 0.0
) -> SceneBoxes:
    """The objects of a label or result file that are of the classes, in the LiDAR's frame."""
    chosen = objects[np.isin(objects.kind, [name.lower() for name in classes])]
    boxes, labels = lidar_boxes(chosen, calibration, classes)
    return SceneBoxes(title, boxes, labels, chosen.score).above(min_score)


def nuscenes_boxes(
    title: str, found: NuScenesBoxes, frames: NuScenesFrames, index: int, min_score: float = 0.0
) -> SceneBoxes:
    """The boxes of a submission for one frame, in its LiDAR's frame; none if it does not list the frame."""
    info = frames.infos[index]
    sample = found.samples.index(info.token) if info.token in found.samples else -1
    wanted = np.isin(found.label, [CLASSES.index(name) for name in frames.classes])
    own = found[(found.sample == sample) & wanted]
    boxes = boxes_from_global(own.center, own.size, own.rotation, np.nan_to_num(own.velocity), info.lidar_to_global)
    labels = np.array([frames.classes.index(CLASSES[label]) for label in own.label], dtype=np.int64)
    return SceneBoxes(title, boxes, labels, own.score).above(min_score)
