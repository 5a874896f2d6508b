"""Precision and errors over recall, as nuScenes samples them, and the averages taken of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from structkd.evaluation.nuscenes.criteria import ERRORS, MIN_PRECISION, MIN_RECALL

#: Recalls 0, 0.01, ..., 1 at which all is sampled.
RECALLS = np.linspace(0, 1, 101)
#: The first sample that counts: what lies at the least recall is left out as well.
FIRST = round(100 * MIN_RECALL) + 1


@dataclass(frozen=True, eq=False)
class DistanceCurve:
    """What a detector reaches for one class and match distance, at the recalls 0, 0.01, ..., 1.

    Attributes:
        precision: [101] share of the detections that are right, linear between the recalls that are reached, 0 beyond.
        confidence: [101] the least score at that recall, 0 beyond.
        errors: by the names in `ERRORS`, [101] mean error of what is found at that recall; 1 if nothing is.
        num_objects: how many labelled objects count.
    """

    precision: np.ndarray
    confidence: np.ndarray
    errors: Mapping[str, np.ndarray]
    num_objects: int

    @property
    def recall(self) -> np.ndarray:
        """[101] the recalls."""
        return RECALLS

    def average_precision(self) -> float:
        """AP, 0 to 1: mean of what exceeds precision 0.1 at the recalls above 0.1, scaled to reach 1."""
        return float(np.maximum(self.precision[FIRST:] - MIN_PRECISION, 0).mean() / (1 - MIN_PRECISION))

    def mean_error(self, name: str) -> float:
        """Mean of an error over the recalls above 0.1 that are reached; 1 if there are none."""
        reached = np.flatnonzero(self.confidence)
        last = int(reached[-1]) if len(reached) else 0
        return 1.0 if last < FIRST else float(self.errors[name][FIRST : last + 1].mean())


def distance_curve(
    right: np.ndarray, score: np.ndarray, errors: Mapping[str, np.ndarray], num_objects: int
) -> DistanceCurve:
    """The curve of detections that are sorted by descending score.

    Args:
        right: [D] bool: the detection found an object.
        score: [D].
        errors: by name, [TP] error of each right detection; NaN where there is nothing to compare.
        num_objects: how many labelled objects count.
    """
    if num_objects == 0 or not right.any():
        nothing = np.zeros(len(RECALLS))
        return DistanceCurve(nothing, nothing, {name: np.ones(len(RECALLS)) for name in ERRORS}, num_objects)
    found = np.cumsum(right).astype(np.float64)
    recall = found / num_objects
    precision = np.interp(RECALLS, recall, found / np.arange(1, len(right) + 1), right=0)
    confidence = np.interp(RECALLS, recall, score, right=0)
    # The errors have a value at the scores of right detections; scores have to ascend for the interpolation.
    ascending = score[right][::-1]
    sampled = {
        name: np.interp(confidence[::-1], ascending, _running_mean(values)[::-1])[::-1]
        for name, values in errors.items()
    }
    return DistanceCurve(precision, confidence, sampled, num_objects)


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Mean of the values so far without those that are NaN: 0 before the first number, 1 if there is none at all."""
    known = ~np.isnan(values)
    if not known.any():
        return np.ones(len(values))
    return np.nancumsum(values) / np.maximum(np.cumsum(known), 1)
