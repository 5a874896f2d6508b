"""KITTI object detection: average precision in the image, in bird's eye view, in 3D, and of headings."""

from structkd.evaluation.kitti.criteria import CATEGORIES, DIFFICULTIES, Category, Difficulty
from structkd.evaluation.kitti.curves import Curve
from structkd.evaluation.kitti.evaluate import KittiEvaluation
from structkd.evaluation.kitti.objects import KittiObjects

__all__ = ["CATEGORIES", "DIFFICULTIES", "Category", "Curve", "Difficulty", "KittiEvaluation", "KittiObjects"]
