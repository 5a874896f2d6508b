"""Distillers for point clouds, one method a file."""

from structkd.distillers.points.itkd import ITKD
from structkd.distillers.points.label_kd import LabelKD
from structkd.distillers.points.logit_kd import LogitKD
from structkd.distillers.points.point_distiller import PointDistiller
from structkd.distillers.points.sparsekd import SparseKD

__all__ = ["ITKD", "LabelKD", "LogitKD", "PointDistiller", "SparseKD"]
