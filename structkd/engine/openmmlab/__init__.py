"""mmdet3d's detectors as teachers and students, in mmdet3d's own runner.

Importing this needs mmengine alone; mmdet3d is imported, and its operators installed, when a config asks for them.
"""

from structkd.engine.openmmlab.config import is_openmmlab, read_config
from structkd.engine.openmmlab.stack import missing, prepare
from structkd.engine.openmmlab.widths import narrowed

__all__ = ["is_openmmlab", "missing", "narrowed", "prepare", "read_config"]
