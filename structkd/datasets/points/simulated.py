"""Simulated frames as a config names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from structkd.datasets.points.kitti import CLASSES, KittiFrames
from structkd.datasets.points.simulator import simulated_kitti


def simulated_frames(
    split: str = "train",
    classes: Sequence[str] = CLASSES,
    point_range: Sequence[float] | None = None,
    root: str | Path | None = None,
    **simulation: Any,
) -> KittiFrames:
    """A split ("train", "val" or "test") of a simulated set, which is made first where it is not there yet.

    Args:
        split, classes, point_range: as for `KittiFrames`.
        root, simulation: as for `simulated_kitti`: `num_train`, `num_val`, `num_test`, `seed`, ...
    """
    return KittiFrames(simulated_kitti(root, **simulation), split, classes, point_range=point_range)
