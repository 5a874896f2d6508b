"""What a detector predicted for nuScenes frames, in the terms of nuScenes' evaluation and submissions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from structkd.datasets.points.nuscenes import NuScenesFrames
from structkd.datasets.points.poses import boxes_to_global
from structkd.errors import DataError
from structkd.evaluation.nuscenes import ATTRIBUTES, CLASSES, NuScenesBoxes
from structkd.evaluation.nuscenes.criteria import MAX_DETECTIONS

#: What moves faster than this, in metres a second, is said to be moving.
MOVING = 0.2
#: Attribute of a class when it moves and when it does not; cones and barriers have none.
_VEHICLE = ("vehicle.moving", "vehicle.parked")
_ATTRIBUTES = {
    "car": _VEHICLE,
    "truck": _VEHICLE,
    "bus": ("vehicle.moving", "vehicle.stopped"),
    "trailer": _VEHICLE,
    "construction_vehicle": _VEHICLE,
    "pedestrian": ("pedestrian.moving", "pedestrian.standing"),
    "motorcycle": ("cycle.with_rider", "cycle.without_rider"),
    "bicycle": ("cycle.with_rider", "cycle.without_rider"),
}


def to_nuscenes(frames: NuScenesFrames, predictions: Sequence[Mapping[str, Any]]) -> NuScenesBoxes:
    """Predictions for all frames as boxes in the global frame, the 500 most confident of each frame.

    Args:
        frames: the frames, in the order of the predictions.
        predictions: one a frame: boxes [n, 7 or 9] LiDAR boxes (7: velocity 0), scores [n] and labels [n] (index into
            `frames.classes`), as tensors or arrays.

    Raises:
        DataError: another number of predictions, arrays that do not fit.

    Differences: attributes are guessed from the class and the speed, since no detector here predicts them. mmdet3d
    does the same, with other defaults for what stands still.
    """
    if len(predictions) != len(frames):
        raise DataError(f"Got predictions of {len(predictions)} frames; expected {len(frames)}.")
    number = np.array([CLASSES.index(name) for name in frames.classes])
    parts = []
    for index, (info, prediction) in enumerate(zip(frames.infos, predictions)):
        boxes, scores, labels = (np.asarray(prediction[name]) for name in ("boxes", "scores", "labels"))
        n = len(scores)
        if boxes.shape not in ((n, 7), (n, 9)) or scores.shape != (n,) or labels.shape != (n,):
            raise DataError(
                f"Frame {info.token}: boxes {boxes.shape}, scores {scores.shape} and labels {labels.shape}; expected "
                "[n, 7 or 9], [n] and [n]."
            )
        if n and not 0 <= labels.min() <= labels.max() < len(number):
            raise DataError(
                f"Frame {info.token}: labels from {labels.min()} to {labels.max()} for {len(number)} classes."
            )
        best = np.argsort(-scores, kind="stable")[:MAX_DETECTIONS]
        boxes = np.pad(boxes[best].astype(np.float64), ((0, 0), (0, 9 - boxes.shape[1])))
        label = number[labels[best].astype(np.int64)]
        place = boxes_to_global(boxes, info.lidar_to_global)
        attribute = _attribute(label, np.linalg.norm(place[3], axis=1))
        parts.append((np.full(len(best), index), label, *place, attribute, scores[best].astype(np.float64)))
    sample, label, center, size, rotation, velocity, attribute, score = (np.concatenate(p) for p in zip(*parts))
    tokens = tuple(info.token for info in frames.infos)
    return NuScenesBoxes(tokens, sample, label, center, size, rotation, velocity, attribute, score)


def _attribute(label: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """[N] index into `ATTRIBUTES`, -1 for none."""
    table = np.full((len(CLASSES), 2), -1)
    for name, (moving, still) in _ATTRIBUTES.items():
        table[CLASSES.index(name)] = ATTRIBUTES.index(still), ATTRIBUTES.index(moving)
    return table[label, (speed > MOVING).astype(np.int64)]
