"""Adapters read models as Structures."""

from structkd.adapters.base import Adapter
from structkd.adapters.graphs import GraphAdapter

__all__ = ["Adapter", "GraphAdapter"]
