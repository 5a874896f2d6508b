"""Readers of standard layouts, generators for the embedded defaults, splits and loaders."""

from structkd.datasets import graphs
from structkd.datasets.graphs import *  # noqa: F403

__all__ = [*graphs.__all__]
