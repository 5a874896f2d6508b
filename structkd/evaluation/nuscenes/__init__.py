"""nuScenes detection: average precision by centre distance, true positive errors and the detection score (NDS)."""

from structkd.evaluation.nuscenes.boxes import NuScenesBoxes
from structkd.evaluation.nuscenes.criteria import ATTRIBUTES, CLASSES, DISTANCES, ERRORS, RANGES
from structkd.evaluation.nuscenes.curves import DistanceCurve
from structkd.evaluation.nuscenes.evaluate import NuScenesEvaluation

__all__ = [
    "ATTRIBUTES",
    "CLASSES",
    "DISTANCES",
    "ERRORS",
    "RANGES",
    "DistanceCurve",
    "NuScenesBoxes",
    "NuScenesEvaluation",
]
