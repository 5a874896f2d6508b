"""Detections in the LiDAR's frame as KITTI's benchmark wants them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from structkd.datasets.points.boxes import boxes_to_camera, image_boxes
from structkd.datasets.points.crops import check_range
from structkd.datasets.points.kitti_files import Calibration
from structkd.errors import DataError
from structkd.evaluation.kitti.objects import KittiObjects


def to_kitti(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    calibration: Calibration,
    image_size: tuple[int, int],
    point_range: Sequence[float] | None = None,
) -> KittiObjects:
    """Detections of one frame as the lines of a result file.

    Args:
        boxes: [n, 7] LiDAR boxes. scores: [n]. labels: [n] indices into `classes`.
        classes: names of the classes.
        calibration, image_size: of the frame.
        point_range: x0, y0, z0, x1, y1, z1: boxes whose bottom centre is outside are dropped.

    Returns:
        Those boxes that appear in the picture, in the same order; 2D boxes are the outlines of the 3D boxes, clipped
        to the picture.

    Differences: mmdet3d's KittiMetric drops boxes beyond a range by default (0, -40, -3, 70.4, 40, 0: also what
    stands above the sensor); here only if one is given. It projects corners behind the camera as if they were ahead
    of it; here the part behind is cut off. It clips to width and height, here to width - 1 and height - 1, as KITTI's
    labels are.

    Raises:
        DataError: shapes that do not fit, labels out of range, numbers that are not finite.
    """
    boxes, scores, labels = np.asarray(boxes, np.float64), np.asarray(scores, np.float64), np.asarray(labels)
    count = len(scores)
    if boxes.shape != (count, 7) or scores.shape != (count,) or labels.shape != (count,):
        raise DataError(
            f"to_kitti got boxes {boxes.shape}, scores {scores.shape} and labels {labels.shape}; expected [n, 7], [n] "
            "and [n]."
        )
    if count and not 0 <= labels.min() <= labels.max() < len(classes):
        raise DataError(f"to_kitti got labels from {labels.min()} to {labels.max()} for {len(classes)} classes.")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise DataError("to_kitti got boxes or scores that are not finite.")
    camera = boxes_to_camera(boxes, calibration.lidar_to_camera)
    rectangles, kept = image_boxes(camera, calibration.projection, image_size)
    if point_range is not None:
        limits = np.array(check_range(point_range))
        kept &= np.all((boxes[:, :3] > limits[:3]) & (boxes[:, :3] < limits[3:]), axis=1)
    names = np.array(classes, dtype=np.str_)[labels.astype(np.int64)]
    return KittiObjects.from_boxes(names[kept], camera[kept], rectangles[kept], scores[kept])
