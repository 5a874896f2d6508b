"""Readers of standard layouts, generators for the embedded defaults, splits and loaders."""

from structkd.datasets import graphs, images, points
from structkd.datasets.graphs import *  # noqa: F403
from structkd.datasets.images import *  # noqa: F403
from structkd.datasets.points import *  # noqa: F403

__all__ = [*graphs.__all__, *images.__all__, *points.__all__]
