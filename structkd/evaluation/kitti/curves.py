"""Precision over recall, as KITTI samples it, and the averages taken of it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

#: Recalls 0, 1/40, ..., 1 at which precision is sampled.
SAMPLES = 41


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision and orientation similarity at the recalls k / 40.

    Attributes:
        thresholds: [T <= 41] scores at which the first recalls are reached, descending.
        precision: [41] share of the detections that are right, and never less than at a higher recall; 0 from T on.
        similarity: [41] the same with each right detection weighted by (1 + cos(alpha error)) / 2.
        num_objects: how many labelled objects count.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    similarity: np.ndarray
    num_objects: int


def recall_thresholds(scores: np.ndarray, num_objects: int) -> np.ndarray:
    """The scores at which recall comes nearest to 0, 1/40, 2/40, ...

    With n objects, taking in the i-th best match moves recall from i / n to (i + 1) / n. A match is passed over as long
    as the recall after the next one is nearer to the one that is looked for; the last one never is. So at most
    one threshold is found a match: with fewer than 41 objects the last samples of the curve stay 0.

    Args:
        scores: [TP] scores of the matched detections in any order.
        num_objects: how many labelled objects count.

    Returns:
        [T] descending scores, T at most 41.
    """
    scores = np.sort(scores)[::-1]
    last, recall, start, chosen = len(scores) - 1, 0.0, 0, []
    while start <= last:

        def near(i: int, recall: float = recall) -> bool:
            return i == last or (i + 2) / num_objects - recall >= recall - (i + 1) / num_objects

        index = bisect_left(range(last), True, lo=start, key=near)
        chosen.append(index)
        start, recall = index + 1, recall + 1 / (SAMPLES - 1)
    return scores[chosen]


def envelope(values: np.ndarray) -> np.ndarray:
    """[41] samples, zero where there are none, each raised to the largest one at its recall or a higher one."""
    curve = np.zeros(SAMPLES)
    curve[: len(values)] = values
    return np.maximum.accumulate(curve[::-1])[::-1]


def average(curve: np.ndarray, points: int) -> float:
    """AP in percent: the mean over 40 recalls (1/40, ..., 1) or, as until 2019, over 11 (0, 0.1, ..., 1)."""
    samples = {40: curve[1:], 11: curve[::4]}[points]
    return float(100 * samples.mean())
