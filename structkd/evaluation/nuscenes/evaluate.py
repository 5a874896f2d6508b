"""nuScenes' detection metric: average precision by centre distance, errors of what is found, detection score."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from structkd.errors import ConfigError, DataError, nearest
from structkd.evaluation.nuscenes.boxes import NuScenesBoxes, yaw
from structkd.evaluation.nuscenes.criteria import (
    AP_WEIGHT,
    CLASSES,
    DISTANCES,
    ERROR_DISTANCE,
    ERRORS,
    MAX_DETECTIONS,
    SYMMETRIC,
    UNDEFINED,
)
from structkd.evaluation.nuscenes.curves import DistanceCurve, distance_curve
from structkd.evaluation.nuscenes.filters import evaluated
from structkd.evaluation.nuscenes.matching import by_confidence, match


class NuScenesEvaluation:
    """The detection metric of nuScenes (Caesar et al., CVPR 2020, section 3.1) as the official devkit computes it.

    Boxes beyond the range of their class, labels without LiDAR or radar points, and (motor)cycles in bicycle racks do
    not count. All distances are matched in one pass.

    Args:
        labels: the labelled boxes, with `num_points`, `ego` and `racks` as far as they are known.
        detections: boxes with scores, of the same samples in any order; their `ego` and `racks` are not looked at.

    Raises:
        DataError: no samples, other samples on the two sides, detections without scores, values that are not finite
            (velocities may be NaN), negative scores, sizes or rotations that are none, more than 500 detections of a
            sample.

    Differences: the devkit lets boxes with sizes of 0 pass until they match something, and reads a quaternion of
    zeros as heading 0; both are errors here.
    """

    def __init__(self, labels: NuScenesBoxes, detections: NuScenesBoxes) -> None:
        _check(labels, detections)
        number = {token: index for index, token in enumerate(labels.samples)}
        place = np.array([number[token] for token in detections.samples], dtype=np.int64)
        # Rows keep the order of their file, which decides ties of scores, but speak of the samples of the labels.
        detections = replace(
            detections, samples=labels.samples, sample=place[detections.sample], ego=None, racks=None, rack_sample=None
        )
        around = labels.ego, labels.racks, labels.rack_sample
        self._labels, self._detections = (boxes[evaluated(boxes, *around)] for boxes in (labels, detections))
        self._found = match(self._labels, self._detections)
        assert self._detections.score is not None
        self._order = by_confidence(self._detections.score)

    def curve(self, category: str, distance: float) -> DistanceCurve:
        """The curve of one class ("car") at one of the four distances, in metres.

        Raises:
            ConfigError: another class or distance.
        """
        if category not in CLASSES:
            raise ConfigError(f"nuScenes evaluates no class {category!r}. {nearest(category, CLASSES)}")
        if distance not in DISTANCES:
            raise ConfigError(f"distance is {distance}; expected one of {', '.join(map(str, DISTANCES))} metres.")
        labels, detections, label = self._labels, self._detections, CLASSES.index(category)
        assert detections.score is not None
        rows = self._order[detections.label[self._order] == label]
        found = self._found[DISTANCES.index(distance), rows]
        right = found >= 0
        errors = _errors(labels[found[right]], detections[rows[right]], category)
        return distance_curve(right, detections.score[rows], errors, int((labels.label == label).sum()))

    def results(self) -> dict[str, Any]:
        """All figures, under the names of the devkit's metrics_summary.json.

        Returns:
            "nd_score" and "mean_ap" (0 to 1); "mean_dist_aps": class -> AP; "label_aps": class -> distance -> AP;
            "tp_errors": name (see `ERRORS`) -> mean over classes; "tp_scores": name -> 1 - error, not below 0;
            "label_tp_errors": class -> name -> error, None where a class has no such error.
        """
        label_aps: dict[str, dict[float, float]] = {}
        label_errors: dict[str, dict[str, float | None]] = {}
        for category in CLASSES:
            curves = {distance: self.curve(category, distance) for distance in DISTANCES}
            label_aps[category] = {distance: curve.average_precision() for distance, curve in curves.items()}
            undefined = UNDEFINED.get(category, frozenset())
            label_errors[category] = {
                name: None if name in undefined else curves[ERROR_DISTANCE].mean_error(name) for name in ERRORS
            }
        mean_aps = {category: float(np.mean(list(aps.values()))) for category, aps in label_aps.items()}
        errors = {}
        for name in ERRORS:
            known = [found[name] for found in label_errors.values() if found[name] is not None]
            errors[name] = float(np.mean(np.array(known, dtype=np.float64)))
        mean_ap = float(np.mean(list(mean_aps.values())))
        scores = {name: max(0.0, 1 - error) for name, error in errors.items()}
        return dict(
            nd_score=(AP_WEIGHT * mean_ap + sum(scores.values())) / (AP_WEIGHT + len(scores)),
            mean_ap=mean_ap,
            mean_dist_aps=mean_aps,
            label_aps=label_aps,
            tp_errors=errors,
            tp_scores=scores,
            label_tp_errors=label_errors,
        )

    def num_objects(self) -> dict[str, int]:
        """Class -> how many labelled boxes count."""
        counts = np.bincount(self._labels.label, minlength=len(CLASSES))
        return {category: int(count) for category, count in zip(CLASSES, counts)}

    def num_detections(self) -> dict[str, int]:
        """Class -> how many detections count."""
        counts = np.bincount(self._detections.label, minlength=len(CLASSES))
        return {category: int(count) for category, count in zip(CLASSES, counts)}


def _errors(labels: NuScenesBoxes, detections: NuScenesBoxes, category: str) -> dict[str, np.ndarray]:
    """Errors of aligned labels and detections by name; NaN where the label leaves nothing to compare."""
    away = detections.center[:, :2] - labels.center[:, :2]
    shared = np.minimum(labels.size, detections.size).prod(1)
    period = np.pi if category == SYMMETRIC else 2 * np.pi
    turn = yaw(labels.rotation) - yaw(detections.rotation)
    speed = detections.velocity - labels.velocity
    wrong = (detections.attribute != labels.attribute).astype(np.float64)
    return {
        "trans_err": np.sqrt((away**2).sum(1)),
        "scale_err": 1 - shared / (labels.size.prod(1) + detections.size.prod(1) - shared),
        "orient_err": np.abs((turn + period / 2) % period - period / 2),
        "vel_err": np.sqrt((speed**2).sum(1)),
        "attr_err": np.where(labels.attribute >= 0, wrong, np.nan),
    }


def _check(labels: NuScenesBoxes, detections: NuScenesBoxes) -> None:
    if not labels.samples:
        raise DataError("There is no sample to evaluate.")
    wanted, given = set(labels.samples), set(detections.samples)
    missing, unknown = sorted(wanted - given), sorted(given - wanted)
    if missing or unknown:
        parts = [f"{len(missing)} labelled samples have no entry ({missing[0]}, ...)"] if missing else []
        parts += [f"{len(unknown)} are not labelled ({unknown[0]}, ...)"] if unknown else []
        raise DataError(
            f"Of the detections' {len(detections.samples)} samples, {' and '.join(parts)}; expected an entry, "
            "if need be an empty one, for every labelled sample and no other."
        )
    if detections.score is None:
        raise DataError("The detections have no scores.")
    if (np.bincount(detections.sample, minlength=1) > MAX_DETECTIONS).any():
        worst = int(np.bincount(detections.sample).argmax())
        raise DataError(
            f"Sample {detections.samples[worst]} has {int(np.bincount(detections.sample).max())} detections; nuScenes "
            f"allows {MAX_DETECTIONS}."
        )
    for side, boxes in (("labels", labels), ("detections", detections)):
        finite = np.isfinite(np.concatenate([boxes.center, boxes.size, boxes.rotation], axis=1)).all(1)
        wrong = ~finite | (boxes.size <= 0).any(1) | (boxes.rotation == 0).all(1) | np.isinf(boxes.velocity).any(1)
        if boxes.score is not None:
            wrong |= ~np.isfinite(boxes.score) | (boxes.score < 0)
        if wrong.any():
            sample = boxes.samples[boxes.sample[wrong.argmax()]]
            raise DataError(
                f"{int(wrong.sum())} of the {side}, the first in sample {sample}, are no boxes; expected finite "
                "numbers, positive sizes, quaternions other than 0 and scores of 0 or more."
            )
