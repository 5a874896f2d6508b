"""Which detection found which object, at all distances at once."""

from __future__ import annotations

import numpy as np

from structkd.evaluation.kitti.matching import greedy_match
from structkd.evaluation.kitti.pairs import same_frame
from structkd.evaluation.nuscenes.boxes import NuScenesBoxes
from structkd.evaluation.nuscenes.criteria import CLASSES, DISTANCES


def by_confidence(score: np.ndarray) -> np.ndarray:
    """Rows by descending score; of equal ones the last comes first, as in the official program."""
    return np.argsort(score, kind="stable")[::-1]


def match(labels: NuScenesBoxes, detections: NuScenesBoxes) -> np.ndarray:
    """[4, D] int64: row of the object each detection found at each of `DISTANCES`, -1 for none.

    Detections of a sample and class, the most confident first, each take the nearest object that is still free and
    nearer than the distance. Equally near ones are taken in their order.

    Args:
        labels, detections: boxes with the same `samples`.
    """
    found = np.full((len(DISTANCES), len(detections)), -1)
    assert detections.score is not None
    num_groups = len(labels.samples) * len(CLASSES)
    label_group, group = (side.sample * len(CLASSES) + side.label for side in (labels, detections))
    label_order, order = np.argsort(label_group, kind="stable"), by_confidence(detections.score)
    order = order[np.argsort(group[order], kind="stable")]
    counts = (np.bincount(ids, minlength=num_groups) for ids in (group, label_group))
    blocks = []
    for detection, label in same_frame(*counts):
        away = detections.center[order[detection], :2] - labels.center[label_order[label], :2]
        distance = np.sqrt((away**2).sum(1))
        near = distance < DISTANCES[-1]
        blocks.append((detection[near], label[near], distance[near]))
    detection, label, distance = (np.concatenate(parts) for parts in zip(*blocks))
    # Bit k: the pair is near enough for distance k.
    bits = sum(((distance < limit).astype(np.int64) << k for k, limit in enumerate(DISTANCES)), np.zeros_like(label))
    matched = greedy_match(detection, label, group[order[detection]], (distance,), bits)
    for k, row in enumerate(found):
        pairs = np.flatnonzero(matched & (1 << k))
        row[order[detection[pairs]]] = label_order[label[pairs]]
    return found
