"""mmcv's compiled operators in PyTorch, so that mmdet and mmdet3d run on mmcv-lite, on CPU and GPU, without a compiler.

    import mmcv_ops
    mmcv_ops.install()          # before mmcv.ops, mmdet or mmdet3d are imported
    import mmdet3d

`python -m mmcv_ops` lists what is here and what is missing. Each operator is a thin layer over structkd's own
(`structkd.ops`) with the arguments of mmcv's extension, its in-place outputs included. Nothing of mmcv is imported by
importing this package, and nothing of mmcv's code is in it.
"""

# These enter their operators into the registry.
from mmcv_ops import (  # noqa: F401
    boxes,
    focal,
    gather,
    iou,
    neighbours,
    polygons,
    roi_align,
    roi_points,
    scatter,
    sparse,
    suppress,
    voxelize,
)
from mmcv_ops.checkpoints import load_checkpoint
from mmcv_ops.install import Info, info, install
from mmcv_ops.registry import OPERATORS, Operator

__all__ = ["OPERATORS", "Info", "Operator", "info", "install", "load_checkpoint"]
