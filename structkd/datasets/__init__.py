"""Readers of standard layouts, generators for the embedded defaults, splits and loaders."""

from structkd.datasets.graphs import *  # noqa: F403
from structkd.datasets.graphs import __all__  # noqa: F401
