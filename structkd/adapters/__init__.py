"""Adapters read models as Structures."""

from structkd.adapters.base import Adapter
from structkd.adapters.graphs import GraphAdapter
from structkd.adapters.points import DetectorAdapter
from structkd.adapters.tokens import TokenAdapter

__all__ = ["Adapter", "DetectorAdapter", "GraphAdapter", "TokenAdapter"]
