"""What a config's `data` can be: a dataset, its protocol, and the batches made of them."""

from structkd.engine.data.base import DataModule
from structkd.engine.data.disk_nodes import DiskNodeTask
from structkd.engine.data.graphs import GraphTask
from structkd.engine.data.images import ImageTask
from structkd.engine.data.links import LinkTask
from structkd.engine.data.nodes import NodeTask
from structkd.engine.data.scenes import DetectionTask
from structkd.engine.registry import make_registry

__all__ = ["DATA", "DataModule", "DetectionTask", "DiskNodeTask", "GraphTask", "ImageTask", "LinkTask", "NodeTask"]

DATA = make_registry("data", None)
for _part in (NodeTask, DiskNodeTask, LinkTask, GraphTask, DetectionTask, ImageTask):
    DATA.register_module(module=_part)
