"""Which points and boxes lie in the camera's view or in a range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from structkd.datasets.points.boxes import NEAR, project, transform
from structkd.datasets.points.kitti_files import Calibration
from structkd.errors import ConfigError


def in_camera_view(points: np.ndarray, calibration: Calibration, image_size: tuple[int, int]) -> np.ndarray:
    """[P] bool: points [P, 3 or more] of the LiDAR frame whose image lies within the picture.

    Args:
        points: x, y, z in metres; further columns are not looked at.
        calibration: of the frame.
        image_size: width and height in pixels.
    """
    pixels, depth = project(
        transform(points[:, :3].astype(np.float64), calibration.lidar_to_camera), calibration.projection
    )
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= 0) & (pixels < np.array(image_size))).all(axis=1)
    return inside & (depth > NEAR)


def points_in_range(points: np.ndarray, point_range: Sequence[float]) -> np.ndarray:
    """[P] bool: points within x0, y0, z0 (included) to x1, y1, z1 (excluded), as voxelisation takes them."""
    low, high = _limits(point_range)
    return np.all((points[:, :3] >= low) & (points[:, :3] < high), axis=1)


def boxes_in_range(boxes: np.ndarray, point_range: Sequence[float]) -> np.ndarray:
    """[M] bool: boxes whose centre lies within the range as seen from above; heights are not looked at."""
    low, high = _limits(point_range)
    return np.all((boxes[:, :2] > low[:2]) & (boxes[:, :2] < high[:2]), axis=1)


def check_range(point_range: Sequence[float]) -> tuple[float, ...]:
    """The range as a tuple; a `ConfigError` if it is none."""
    values = tuple(float(value) for value in point_range)
    if len(values) != 6 or not np.isfinite(values).all() or any(values[i] >= values[i + 3] for i in range(3)):
        raise ConfigError(
            f"point_range is {list(point_range)}; expected x0, y0, z0, x1, y1, z1 with x0 < x1 and so on."
        )
    return values


def _limits(point_range: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(point_range, dtype=np.float32)
    return values[:3], values[3:]
