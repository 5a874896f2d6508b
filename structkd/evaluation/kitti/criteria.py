"""What KITTI counts: classes, difficulties, and the part each object plays in their evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from structkd.evaluation.kitti.objects import KittiObjects

HeightRule = Literal["<", "<="]
#: Parts: counted; may be matched, for neither good nor bad; not looked at.
VALID, IGNORED, SKIPPED = np.int8(0), np.int8(1), np.int8(-1)


@dataclass(frozen=True)
class Category:
    """A class that is evaluated.

    Attributes:
        name: type of its objects.
        neighbour: a class so similar that detecting it is no mistake, or None.
        strict, loose: overlap that a match must exceed, by metric. The benchmark's are the strict ones; loose ones
            tell nearly right boxes from wrong ones.
    """

    name: str
    neighbour: str | None
    strict: Mapping[str, float]
    loose: Mapping[str, float]


@dataclass(frozen=True)
class Difficulty:
    """Which labelled objects count: at least so high in the image (pixels), at most so occluded and truncated."""

    name: str
    min_height: float
    max_occlusion: int
    max_truncation: float


CATEGORIES = {
    "Car": Category("Car", "Van", {"2d": 0.7, "bev": 0.7, "3d": 0.7}, {"2d": 0.7, "bev": 0.5, "3d": 0.5}),
    "Pedestrian": Category(
        "Pedestrian", "Person_sitting", {"2d": 0.5, "bev": 0.5, "3d": 0.5}, {"2d": 0.5, "bev": 0.25, "3d": 0.25}
    ),
    "Cyclist": Category("Cyclist", None, {"2d": 0.5, "bev": 0.5, "3d": 0.5}, {"2d": 0.5, "bev": 0.25, "3d": 0.25}),
}
DIFFICULTIES = (
    Difficulty("easy", 40, 0, 0.15),
    Difficulty("moderate", 25, 1, 0.30),
    Difficulty("hard", 25, 2, 0.50),
)


def label_part(
    objects: KittiObjects, category: Category, difficulty: Difficulty, height_rule: HeightRule = "<"
) -> np.ndarray:
    """[N] int8 part of each labelled object: those of the class that are too hard are ignored, as are neighbours.

    Args:
        objects: labels.
        category, difficulty: what is evaluated.
        height_rule: an object of exactly the least height is counted by "<" (the official program ignores what is
            lower) and ignored by "<=" (the Python versions, such as mmdet3d's and OpenPCDet's).
    """
    height = objects.image_height
    low = height < difficulty.min_height if height_rule == "<" else height <= difficulty.min_height
    hard = low | (objects.occluded > difficulty.max_occlusion) | (objects.truncated > difficulty.max_truncation)
    part = np.where(objects.kind == category.name.lower(), np.where(hard, IGNORED, VALID), SKIPPED)
    if category.neighbour is not None:
        part[objects.kind == category.neighbour.lower()] = IGNORED
    return part


def detection_part(objects: KittiObjects, category: Category, difficulty: Difficulty) -> np.ndarray:
    """[N] int8 part of each detection.

    What is too low in the image is ignored WHATEVER its class. So it is in every implementation of this evaluation:
    a low detection of another class can take a labelled object away from the detection that belongs to it.
    """
    same = np.where(objects.kind == category.name.lower(), VALID, SKIPPED)
    return np.where(objects.image_height < difficulty.min_height, IGNORED, same)
