"""Detectors for point clouds and what they are made of."""

from structkd.models.points.anchor_head import AnchorHead
from structkd.models.points.anchors import Anchor
from structkd.models.points.backbone import Backbone, Neck
from structkd.models.points.center_head import CenterHead
from structkd.models.points.dense import DenseDetector
from structkd.models.points.detector import Detection, Detector, Elements
from structkd.models.points.openmmlab import load_openmmlab, to_openmmlab
from structkd.models.points.pillar_encoder import PillarEncoder
from structkd.models.points.point_rcnn import PointRCNN
from structkd.models.points.pointpillars import PointPillars
from structkd.models.points.second import SECOND
from structkd.models.points.second_encoder import SparseEncoder
from structkd.models.points.sparse import (
    SparseConv3d,
    SparseInverseConv3d,
    SparseSequential,
    SparseTensor,
    SubMConv3d,
)

__all__ = [
    "SECOND",
    "Anchor",
    "AnchorHead",
    "Backbone",
    "CenterHead",
    "DenseDetector",
    "Detection",
    "Detector",
    "Elements",
    "Neck",
    "PillarEncoder",
    "PointPillars",
    "PointRCNN",
    "SparseConv3d",
    "SparseEncoder",
    "SparseInverseConv3d",
    "SparseSequential",
    "SparseTensor",
    "SubMConv3d",
    "load_openmmlab",
    "to_openmmlab",
]
