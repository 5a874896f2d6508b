"""Adapters read models as Structures."""

from structkd.adapters.base import Adapter
from structkd.adapters.experts import ExpertAdapter
from structkd.adapters.graphs import GraphAdapter
from structkd.adapters.mmdet3d import MMDet3DAdapter
from structkd.adapters.modules import ChainAdapter, HybridAdapter
from structkd.adapters.out_of_core import OutOfCoreAdapter
from structkd.adapters.points import DetectorAdapter
from structkd.adapters.tokens import TokenAdapter

__all__ = [
    "Adapter",
    "ChainAdapter",
    "DetectorAdapter",
    "ExpertAdapter",
    "GraphAdapter",
    "HybridAdapter",
    "MMDet3DAdapter",
    "OutOfCoreAdapter",
    "TokenAdapter",
]
