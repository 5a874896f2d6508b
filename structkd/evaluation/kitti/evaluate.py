"""KITTI's average precision of detections against labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from structkd.errors import ConfigError, DataError, nearest
from structkd.evaluation.kitti.criteria import (
    CATEGORIES,
    DIFFICULTIES,
    IGNORED,
    SKIPPED,
    VALID,
    HeightRule,
    detection_part,
    label_part,
)
from structkd.evaluation.kitti.curves import Curve, average, envelope, recall_thresholds
from structkd.evaluation.kitti.matching import bits_from, greedy_match, unpack_bits
from structkd.evaluation.kitti.objects import KittiObjects
from structkd.evaluation.kitti.pairs import dont_care_share, overlapping_pairs

METRICS = ("2d", "bev", "3d")
#: alpha of a detector that does not say where an object is heading.
NO_HEADING = -10


class KittiEvaluation:
    """Average precision of detections as the KITTI object benchmark defines it, on the CPU.

    Overlaps are computed once; each (class, difficulty, metric) is then matched in two passes: one without a
    threshold, in which objects take their best scored detection and which fixes the 41 thresholds, and one at every
    threshold (all at once), in which they take the detection of largest overlap.

    Args:
        labels: one `KittiObjects` a frame, in the order of the label files.
        detections: one a frame, with scores.
        classes: which of Car, Pedestrian, Cyclist.
        height_rule: "<" (official) or "<=", see `label_part`.

    Raises:
        DataError: no frames, other frames on the two sides, detections without scores or with a NaN.
        ConfigError: an unknown class or rule.

    Differences: where a threshold leaves neither right nor wrong detections, precision is 0 (0 / 0 in the official
    program). DontCare regions only matter in the image, as in the Python versions; the official program says the same
    for labels that carry the object benchmark's filling.
    """

    def __init__(
        self,
        labels: Sequence[KittiObjects],
        detections: Sequence[KittiObjects],
        classes: Sequence[str] = tuple(CATEGORIES),
        height_rule: HeightRule = "<",
    ) -> None:
        _check(labels, detections, classes, height_rule)
        self.categories = [CATEGORIES[name] for name in classes]
        label_count, detection_count = (np.array([len(frame) for frame in side]) for side in (labels, detections))
        self._labels, self._detections = (KittiObjects.concatenate(frames) for frames in (labels, detections))
        self._score = _scores(self._detections, detection_count)
        counts = label_count, detection_count
        self._pairs = overlapping_pairs(self._labels, self._detections, *counts, self.categories)
        self._dont_care = dont_care_share(self._labels, self._detections, *counts)
        self._frame = np.repeat(np.arange(len(labels)), label_count)
        self._label_part, self._detection_part = {}, {}
        for category in self.categories:
            for difficulty in DIFFICULTIES:
                key = category.name, difficulty.name
                self._label_part[key] = label_part(self._labels, category, difficulty, height_rule)
                self._detection_part[key] = detection_part(self._detections, category, difficulty)
        #: Whether headings are evaluated: a single detection without one rules it out.
        self.has_headings = not bool((self._detections.alpha == NO_HEADING).any())

    def curve(self, category: str, difficulty: str, metric: str, min_overlap: float) -> Curve:
        """The curve of one class ("Car"), difficulty ("easy"), metric ("2d", "bev", "3d") and least overlap."""
        label_parts, parts = self._label_part[category, difficulty], self._detection_part[category, difficulty]
        label, detection, overlap = self._candidates(metric, min_overlap, label_parts, parts)
        frame, score = self._frame[label], self._score
        counts = (label_parts[label] == VALID) & (parts[detection] == VALID)
        num_objects = int((label_parts == VALID).sum())

        by_score = greedy_match(label, detection, frame, (-score[detection],), np.ones_like(label)) == 1
        thresholds = recall_thresholds(score[detection[by_score & counts]], num_objects)

        reached = np.searchsorted(-thresholds, -score)  # the first threshold that the score reaches
        bits = bits_from(reached, len(thresholds))[detection]
        # Ignored detections are second choice. Which of them an object takes changes nothing for the others.
        matched = greedy_match(label, detection, frame, (parts[detection] == IGNORED, -overlap), bits)

        may_be_wrong = parts == VALID
        if metric == "2d":
            may_be_wrong &= ~(self._dont_care > min_overlap)
        right = unpack_bits(matched[counts], len(thresholds))
        taken = unpack_bits(matched[may_be_wrong[detection]], len(thresholds))
        reaching = np.bincount(reached[may_be_wrong], minlength=len(thresholds) + 1).cumsum()[:-1]
        judged = np.maximum(right.sum(0, dtype=np.int64) + reaching - taken.sum(0, dtype=np.int64), 1)
        alpha_error = self._labels.alpha[label[counts]] - self._detections.alpha[detection[counts]]
        similarity = (1 + np.cos(alpha_error)) / 2 @ right
        precision = right.sum(0, dtype=np.int64) / judged
        return Curve(thresholds, envelope(precision), envelope(similarity / judged), num_objects)

    def _candidates(
        self, metric: str, min_overlap: float, label_parts: np.ndarray, parts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Object, detection and overlap of the pairs that can be matched, [P] each."""
        pairs, overlap = self._pairs, self._pairs.overlap[metric]
        possible = (label_parts[pairs.label] != SKIPPED) & (parts[pairs.detection] != SKIPPED)
        rows = np.flatnonzero(possible & (overlap > min_overlap))
        return pairs.label[rows], pairs.detection[rows], overlap[rows]

    def results(self, overlaps: Literal["strict", "loose"] = "strict") -> dict[str, dict[str, Any]]:
        """All averages in percent: class -> "2d", "bev", "3d", "aos" -> "AP40", "AP11" -> [easy, moderate, hard].

        Args:
            overlaps: "strict": 0.7 for cars, 0.5 for pedestrians and cyclists; "loose": 0.5 and 0.25 in BEV and 3D.

        Returns:
            The nested dict; "aos" is None if the detections have no headings. A class without objects has 0.
        """
        if overlaps not in ("strict", "loose"):
            raise ConfigError(f"overlaps is {overlaps!r}; expected 'strict' or 'loose'.")
        results: dict[str, dict[str, Any]] = {}
        for category in self.categories:
            least = getattr(category, overlaps)
            curves = {
                metric: [self.curve(category.name, level.name, metric, least[metric]) for level in DIFFICULTIES]
                for metric in METRICS
            }
            found: dict[str, Any] = {
                metric: _averages([curve.precision for curve in curves[metric]]) for metric in METRICS
            }
            found["aos"] = _averages([curve.similarity for curve in curves["2d"]]) if self.has_headings else None
            results[category.name] = found
        return results

    def num_objects(self) -> dict[str, list[int]]:
        """Class -> how many labelled objects count at [easy, moderate, hard]."""
        return {
            category.name: [int((self._label_part[category.name, level.name] == VALID).sum()) for level in DIFFICULTIES]
            for category in self.categories
        }


def _scores(detections: KittiObjects, count: np.ndarray) -> np.ndarray:
    """The scores [D], after the check that a detector gave numbers; files are checked when they are read."""
    assert detections.score is not None
    finite = np.isfinite(detections.score) & np.all(np.isfinite(detections.rows), axis=1)
    if not finite.all():
        frame = np.repeat(np.arange(len(count)), count)[finite.argmin()]
        raise DataError(f"The detections of frame {frame} hold NaN or infinity; expected finite boxes and scores.")
    return detections.score


def _averages(curves: list[np.ndarray]) -> dict[str, list[float]]:
    return {f"AP{points}": [average(curve, points) for curve in curves] for points in (40, 11)}


def _check(
    labels: Sequence[KittiObjects], detections: Sequence[KittiObjects], classes: Sequence[str], height_rule: str
) -> None:
    if len(labels) != len(detections) or len(labels) == 0:
        raise DataError(
            f"Got labels of {len(labels)} frames and detections of {len(detections)}; expected the same frames, "
            "at least one."
        )
    for index, frame in enumerate(detections):
        if frame.score is None:
            raise DataError(f"The detections of frame {index} have no scores.")
    for name in classes:
        if name not in CATEGORIES:
            raise ConfigError(f"KITTI evaluates no class {name!r}. {nearest(name, CATEGORIES)}")
    if height_rule not in ("<", "<="):
        raise ConfigError(f"height_rule is {height_rule!r}; expected '<' or '<='.")
