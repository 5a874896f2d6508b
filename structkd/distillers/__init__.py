"""Distillers compare a student's Structure with a teacher's; each is one paper in one file."""

from structkd.distillers.base import Distiller
from structkd.distillers.graphs import *  # noqa: F403
from structkd.distillers.graphs import __all__ as _graphs

__all__ = ["Distiller", *_graphs]
