"""nuScenes as a config names it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from structkd.datasets.points.nuscenes import NuScenesFrames
from structkd.evaluation.nuscenes import CLASSES


def nuscenes_frames(
    split: str = "train",
    classes: Sequence[str] = CLASSES,
    root: str | Path = "data/nuscenes",
    infos: str = "nuscenes_infos_{split}.pkl",
    **frames: Any,
) -> NuScenesFrames:
    """The frames of a split, from the info file that `tools/create_data.py nuscenes` writes for it.

    Args:
        split: "train" or "val".
        classes, root, frames: as for `NuScenesFrames`.
        infos: name of the info file in `root`, in which `{split}` stands for the split.
    """
    return NuScenesFrames(root, infos.format(split=split), classes=classes, **frames)
