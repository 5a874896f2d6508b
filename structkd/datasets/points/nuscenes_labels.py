"""The labels of nuScenes' tables, as its evaluation needs them."""

from __future__ import annotations

import numpy as np

from structkd.datasets.points.nuscenes_tables import DETECTED, NuScenesTables, Row
from structkd.evaluation.nuscenes import CLASSES, NuScenesBoxes

BICYCLE_RACK = "static_object.bicycle_rack"


def table_labels(tables: NuScenesTables, tokens: list[str]) -> NuScenesBoxes:
    """Boxes of the ten classes, places of the vehicle and bicycle racks of some samples, in their order.

    Raises:
        DataError: as `NuScenesTables`.
    """
    with tables.reading("labels"):
        return _labels(tables, tokens)


def _labels(tables: NuScenesTables, tokens: list[str]) -> NuScenesBoxes:
    rows: list[tuple[int, int, Row]] = []
    racks: list[tuple[int, Row]] = []
    for index, token in enumerate(tokens):
        for row in tables.annotations.get(token, []):
            category = tables.category(row)
            if category in DETECTED:
                rows.append((index, CLASSES.index(DETECTED[category]), row))
            elif category == BICYCLE_RACK:
                racks.append((index, row))
    found, rack_rows = [row for _, _, row in rows], [row for _, row in racks]
    center, size, rotation = tables.boxes(found)
    points = tables.columns(found, "num_lidar_pts", 0) + tables.columns(found, "num_radar_pts", 0)
    return NuScenesBoxes(
        tuple(tokens),
        np.array([index for index, _, _ in rows], dtype=np.int64),
        np.array([label for _, label, _ in rows], dtype=np.int64),
        center,
        size,
        rotation,
        velocity=np.array([tables.velocity(row) for row in found]).reshape(-1, 2),
        attribute=np.array([tables.attribute(row) for row in found], dtype=np.int64),
        num_points=points.astype(np.int64),
        ego=np.array([tables.poses(tables.lidar(token))[1][:3, 3] for token in tokens]).reshape(-1, 3),
        racks=np.concatenate(tables.boxes(rack_rows), axis=1),
        rack_sample=np.array([index for index, _ in racks], dtype=np.int64),
    )
