"""How simulated frames compare with real ones: the same statistics of both."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from structkd.datasets.points.boxes import boxes_to_lidar
from structkd.datasets.points.inside import rows_in_boxes
from structkd.datasets.points.kitti import KittiFrames

#: Statistics of KITTI's training frames. Counts of points are medians over labelled objects, n*r^2 (m^2) over those
#: that are neither occluded nor truncated; distances (m) and sizes (m) are of the tracking sequences.
MEASURED: dict[str, float] = {
    "points a frame": 18968,
    "reflectance": 0.25,
    "reflectance 0": 0.12,
    "Car a frame": 3.87,
    "Pedestrian a frame": 1.43,
    "Cyclist a frame": 0.24,
    "Van a frame": 0.35,
    "Truck a frame": 0.13,
    "Car points": 85,
    "Pedestrian points": 91,
    "Cyclist points": 76,
    "Car points, 10%": 10,
    "Pedestrian points, 10%": 16,
    "Cyclist points, 10%": 18,
    "Car points, 90%": 783,
    "Pedestrian points, 90%": 375,
    "Cyclist points, 90%": 358,
    "Car n*r^2": 77000,
    "Pedestrian n*r^2": 34900,
    "Cyclist n*r^2": 37900,
    "Car distance": 28.6,
    "Pedestrian distance": 13.6,
    "Cyclist distance": 20.7,
    "Car reflectance": 0.13,
    "Pedestrian reflectance": 0.31,
    "Cyclist reflectance": 0.26,
    "Car not occluded": 0.50,
    "Pedestrian not occluded": 0.65,
    "Cyclist not occluded": 0.64,
    "Car length": 3.88,
    "Car width": 1.63,
    "Car height": 1.52,
    "Pedestrian length": 0.89,
    "Pedestrian width": 0.73,
    "Pedestrian height": 1.76,
    "Cyclist length": 1.75,
    "Cyclist width": 0.68,
    "Cyclist height": 1.74,
}


def statistics(frames: KittiFrames) -> dict[str, float]:
    """The statistics of `MEASURED` of any labelled frames; NaN for a class that does not occur."""
    columns: dict[str, list[np.ndarray]] = {}
    points_of: list[int] = []
    values: list[np.ndarray] = []
    for i in range(len(frames)):
        points, objects, calibration = frames[i].points, frames.annotations(i), frames.calibration(i)
        objects = objects[~objects.dont_care]
        boxes = boxes_to_lidar(objects.camera_boxes, calibration.lidar_to_camera)
        values_in = [points[rows, 3] for rows in rows_in_boxes(points, boxes)]
        count = np.array([len(one) for one in values_in])
        mean = np.array([one.mean() if len(one) else 0 for one in values_in])
        distance = np.hypot(boxes[:, 0], boxes[:, 1])
        table = np.stack(
            [count, distance, mean, objects.occluded, objects.truncated, *objects.camera_boxes[:, [3, 5, 4]].T], axis=1
        )
        for name in np.unique(objects.type):
            columns.setdefault(name, []).append(table[objects.type == name])
        points_of.append(len(points))
        values.append(points[:, 3])
    reflectance = np.concatenate(values)
    found = {
        "points a frame": float(np.mean(points_of)),
        "reflectance": float(reflectance.mean()),
        "reflectance 0": float((reflectance == 0).mean()),
    }
    for name in ("Car", "Pedestrian", "Cyclist", "Van", "Truck"):
        found |= _of_class(name, np.concatenate([np.empty((0, 8)), *columns.get(name, [])]), len(frames))
    return {name: found[name] for name in MEASURED}


def _of_class(name: str, table: np.ndarray, num_frames: int) -> dict[str, float]:
    found = {f"{name} a frame": len(table) / num_frames}
    if not len(table):
        table = np.full((1, 8), np.nan)
    count, distance, mean, occluded, truncated, *size = table.T
    clear = (occluded == 0) & (truncated < 0.05) & (count > 0)
    found |= {
        f"{name} points": float(np.median(count)),
        f"{name} points, 10%": float(np.percentile(count, 10)),
        f"{name} points, 90%": float(np.percentile(count, 90)),
        f"{name} n*r^2": float(np.median((count * distance**2)[clear])) if clear.any() else float("nan"),
        f"{name} distance": float(np.median(distance)),
        f"{name} reflectance": float(np.mean(mean[count > 0])) if (count > 0).any() else float("nan"),
        f"{name} not occluded": float(np.mean(occluded == 0)),
    }
    return found | {f"{name} {side}": float(values.mean()) for side, values in zip(("length", "width", "height"), size)}


def report(found: Mapping[str, float], measured: Mapping[str, float] = MEASURED) -> str:
    """A table: found, measured and the deviation in percent."""
    lines = [f"{'':26}{'found':>10}{'KITTI':>10}{'%':>8}"]
    for name, value in measured.items():
        lines.append(f"{name:26}{found[name]:10.4g}{value:10.4g}{100 * (found[name] / value - 1):+8.0f}")
    return "\n".join(lines)
