"""Which boxes are evaluated."""

from __future__ import annotations

import numpy as np

from structkd.evaluation.nuscenes.boxes import NuScenesBoxes, rotate_back
from structkd.evaluation.nuscenes.criteria import CLASSES, RACKED, RANGES

_RANGES = np.array(list(RANGES.values()), dtype=np.float64)
_RACKED = np.isin(CLASSES, RACKED)


def evaluated(
    boxes: NuScenesBoxes, ego: np.ndarray | None, racks: np.ndarray | None, rack_sample: np.ndarray | None
) -> np.ndarray:
    """[N] bool: boxes that are within the range of their class, hold points, and stand in no bicycle rack.

    Args:
        boxes: labels or detections.
        ego: [S, 3] places of the vehicle at the samples of `boxes`; None: no box is too far.
        racks: [R, 10] bicycle racks and the samples [R] they belong to; None: there are none.
        rack_sample: see `racks`.
    """
    kept = np.ones(len(boxes), dtype=bool)
    if ego is not None:
        away = boxes.center[:, :2] - ego[boxes.sample, :2]
        kept &= np.sqrt((away**2).sum(1)) < _RANGES[boxes.label]
    if boxes.num_points is not None:
        kept &= boxes.num_points != 0
    if racks is not None and rack_sample is not None and len(racks):
        rows = np.flatnonzero(kept & _RACKED[boxes.label])
        kept[rows[_inside(boxes, rows, racks, rack_sample)]] = False
    return kept


def _inside(boxes: NuScenesBoxes, rows: np.ndarray, racks: np.ndarray, rack_sample: np.ndarray) -> np.ndarray:
    """Whether the centre of each of `rows` lies in a rack of its sample, faces included."""
    order = np.argsort(rack_sample, kind="stable")
    start, stop = (np.searchsorted(rack_sample[order], boxes.sample[rows], side) for side in ("left", "right"))
    box = np.repeat(np.arange(len(rows)), stop - start)
    within = np.arange(len(box)) - np.repeat(np.cumsum(stop - start) - (stop - start), stop - start)
    rack = racks[order[start[box] + within]]
    place = rotate_back(boxes.center[rows[box]] - rack[:, :3], rack[:, 6:])
    half = rack[:, [4, 3, 5]] / 2  # along x lies the length
    inside = np.zeros(len(rows), dtype=bool)
    inside[box[np.all(np.abs(place) <= half, axis=1)]] = True
    return inside
