"""The rotated IoU of mmdet3d's KITTI evaluation, which is written for numba.cuda, on structkd's."""

from __future__ import annotations

import importlib.machinery
import sys
from types import ModuleType
from typing import Any

import numpy as np
import torch

from structkd.errors import ConfigError
from structkd.ops.iou_2d import extent
from structkd.ops.rotated_iou import rotated_intersection

NAME = "mmdet3d.evaluation.functional.kitti_utils.rotate_iou"


def rotate_iou_gpu_eval(boxes: Any, query_boxes: Any, criterion: int = -1, device_id: int = 0) -> np.ndarray:
    """[N, K] overlaps of rectangles [N, 5], [K, 5] x, z, l, w, angle in the camera's ground plane.

    Args:
        boxes, query_boxes: angles turn clockwise, as the camera's do.
        criterion: -1 over the union, 0 over the first's area, 1 over the second's, anything else the area itself.
        device_id: has no meaning here.
    """
    a, b = (_turned(rows) for rows in (boxes, query_boxes))
    shared = rotated_intersection(a, b)
    first, second = extent(a[:, 2:4])[:, None], extent(b[:, 2:4])[None]
    whole = {-1: first + second - shared, 0: first, 1: second}.get(criterion)
    value = shared if whole is None else torch.where(whole > 0, shared / whole, 0)
    return value.numpy().astype(np.asarray(boxes).dtype)


def _turned(boxes: Any) -> torch.Tensor:
    rows = torch.as_tensor(np.asarray(boxes)).to(torch.float64, copy=True).reshape(-1, 5)
    rows[:, 4].neg_()
    return rows


def replace_rotate_iou() -> None:
    """Put a module with this function where mmdet3d's own would be imported from, unless a GPU runs that."""
    if torch.cuda.is_available() or isinstance(sys.modules.get(NAME), _RotateIou):
        return
    if NAME in sys.modules:
        raise ConfigError(f"{NAME} was imported before mmcv_ops.install(); call it first.")
    sys.modules[NAME] = _RotateIou()


class _RotateIou(ModuleType):
    def __init__(self) -> None:
        super().__init__(NAME, __doc__)
        self.__spec__ = importlib.machinery.ModuleSpec(NAME, None, origin="mmcv_ops")
        self.rotate_iou_gpu_eval = rotate_iou_gpu_eval
