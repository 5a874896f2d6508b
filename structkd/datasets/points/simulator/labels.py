"""From instances and what was met of them to labels as people write them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from structkd.datasets.points.boxes import boxes_to_camera, image_boxes, lidar_corners
from structkd.datasets.points.kitti_files import Calibration
from structkd.datasets.points.simulator.sensor import AZIMUTH_STEP, ELEVATIONS
from structkd.datasets.points.simulator.world import Instance
from structkd.evaluation.kitti.objects import UNKNOWN, KittiObjects

#: Share of the shots at an object's outline that meet it when nothing stands before it.
FILL = {"Car": 0.74, "Pedestrian": 0.41, "Cyclist": 0.45, "Van": 0.80, "Truck": 0.75}
#: Visible shares from which an object counts as not, partly and largely occluded.
VISIBLE = (0.75, 0.40, 0.10)
#: An object with fewer points, a picture lower than this (pixels) or less of it in the picture becomes DontCare.
LEAST_POINTS, LEAST_HEIGHT, MOST_TRUNCATED = 4, 14.0, 0.9


def lidar_boxes_of(objects: Sequence[Instance], slope: tuple[float, float]) -> np.ndarray:
    """[M, 7] LiDAR boxes of instances whose templates fill the unit box."""
    boxes = np.array([[*one.place, *one.size, one.yaw] for one in objects]).reshape(-1, 7)
    boxes[:, 2] += boxes[:, 0] * slope[0] + boxes[:, 1] * slope[1]
    return boxes


def outline_shots(boxes: np.ndarray) -> np.ndarray:
    """[M] shots that fall within the outline of each box, seen from the sensor."""
    corners = lidar_corners(boxes)
    azimuth = np.arctan2(corners[..., 1], corners[..., 0])
    # Around the direction of the centre, so that the cut at 180 degrees does not matter.
    azimuth = (azimuth - np.arctan2(boxes[:, 1], boxes[:, 0])[:, None] + np.pi) % (2 * np.pi) - np.pi
    elevation = np.degrees(np.arctan2(corners[..., 2], np.hypot(corners[..., 0], corners[..., 1])))
    columns = np.degrees(azimuth.max(1) - azimuth.min(1)) / AZIMUTH_STEP
    rising = np.sort(ELEVATIONS)
    return columns * (np.searchsorted(rising, elevation.max(1)) - np.searchsorted(rising, elevation.min(1)))


def label(
    objects: Sequence[Instance],
    slope: tuple[float, float],
    hits: np.ndarray,
    points: np.ndarray,
    calibration: Calibration,
    image_size: tuple[int, int],
) -> KittiObjects:
    """The label file of a frame.

    Args:
        objects: M instances. slope: of the ground.
        hits: [M] shots that meet each object. points: [M] of them that came back.
        calibration, image_size: of the camera.

    Objects outside of the picture are left out; those of which too little is seen become DontCare.
    """
    boxes = lidar_boxes_of(objects, slope)
    camera = boxes_to_camera(boxes, calibration.lidar_to_camera)
    whole, ahead = image_boxes(camera, calibration.projection)
    clipped, seen = image_boxes(camera, calibration.projection, image_size)
    with np.errstate(divide="ignore", invalid="ignore"):
        truncated = np.where(ahead, 1 - _area(clipped) / _area(whole), 1).clip(0, 1)
    names = np.array([one.kind for one in objects], dtype=np.str_)
    expected = outline_shots(boxes) * np.array([FILL[name] for name in names.tolist()]).reshape(-1) * (1 - truncated)
    visible = hits / np.maximum(expected, 1)
    occluded = 3 - sum((visible > least).astype(int) for least in VISIBLE)
    seen &= truncated < 0.98
    height = clipped[:, 3] - clipped[:, 1]
    known = seen & (points >= LEAST_POINTS) & (height >= LEAST_HEIGHT) & (truncated <= MOST_TRUNCATED)
    labelled = KittiObjects.from_boxes(names, camera, clipped, truncated=np.round(truncated, 2), occluded=occluded)
    unclear = seen & ~known
    labelled.rows[unclear, :3], labelled.rows[unclear, 7:] = UNKNOWN[:3], UNKNOWN[7:]
    return KittiObjects(np.where(unclear, "DontCare", names), labelled.rows)[
        np.concatenate([np.flatnonzero(known), np.flatnonzero(unclear)])
    ]


def _area(rectangles: np.ndarray) -> np.ndarray:
    return (rectangles[:, 2] - rectangles[:, 0]) * (rectangles[:, 3] - rectangles[:, 1])
