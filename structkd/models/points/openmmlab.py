"""Weights of mmdet3d's detectors for ours, and ours for mmdet3d."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from structkd.errors import ConfigError, DataError
from structkd.models.points.anchor_head import AnchorHead
from structkd.models.points.detector import Detector
from structkd.models.points.pointpillars import PointPillars
from structkd.models.points.second import SECOND
from structkd.models.points.sparse import SparseConv3d, SubMConv3d, convert_weight, spconv1_to_spconv2

#: Beginning of a name here -> beginning of mmdet3d's; all other names are equal.
NAMES: dict[type[Detector], dict[str, str]] = {
    PointPillars: {"voxel_encoder.": "voxel_encoder.pfn_layers.0.", "head.": "bbox_head."},
    SECOND: {"head.": "bbox_head."},
}
#: Order of the classes in mmdet3d's three-class KITTI configs.
KITTI_CLASSES = ("Pedestrian", "Cyclist", "Car")
#: What checkpoints from before batch norm counted its batches do not hold.
_OPTIONAL = "num_batches_tracked"


def load_openmmlab(
    model: Detector,
    checkpoint: str | os.PathLike[str] | Mapping[str, Any],
    classes: Sequence[str] | None = None,
) -> None:
    """Fill `model` with the weights of an mmdet3d checkpoint (version 1.0 or later; earlier ones turn boxes otherwise).

    To get mmdet3d's boxes, build the model with `voxelization="hard"` (and for PointPillars `legacy=True`, the
    default).

    Args:
        model: a `PointPillars` or `SECOND` with an anchor head.
        checkpoint: path, what `torch.load` gave for it, or its state dict. Sparse convolutions may be in the layout of
            mmcv and spconv 1 or of spconv 2.
        classes: the checkpoint's classes in order. Default: as noted in it, else Pedestrian, Cyclist, Car for three
            classes. Scores and anchors are put in the order of the model's classes.

    Raises:
        DataError: names or shapes that do not fit, listed; a file that cannot be read; other classes than the model's.
        ConfigError: a model that mmdet3d has no counterpart of.
    """
    given = _read(checkpoint) if isinstance(checkpoint, (str, os.PathLike)) else checkpoint
    state = given.get("state_dict", given)
    order = _class_order(model, classes or _noted_classes(given))
    expected = model.state_dict()
    names = {ours: _renamed(model, ours) for ours in expected}
    missing = [theirs for theirs in names.values() if theirs not in state and not theirs.endswith(_OPTIONAL)]
    unexpected = sorted(set(state) - set(names.values()))
    layers = dict(model.named_modules())
    converted: dict[str, Tensor] = {}
    wrong: list[str] = []
    for ours, theirs in names.items():
        if theirs in state:
            value = _converted(ours, state[theirs], layers[ours.rpartition(".")[0]], wrong)
            if value.shape != expected[ours].shape:
                wrong.append(f"{theirs} is {tuple(value.shape)}, expected {tuple(expected[ours].shape)}")
            converted[ours] = value
    if missing or unexpected or wrong:
        parts = ("missing", missing), ("unexpected", unexpected), ("of other shapes", wrong)
        raise DataError(
            f"The checkpoint does not fit {type(model).__name__}. "
            + " ".join(f"{what}: {_listed(found)}." for what, found in parts if found)
        )
    model.load_state_dict({**expected, **_reorder(model, converted, order)})


def to_openmmlab(model: Detector, classes: Sequence[str] | None = None, layout: str = "spconv2") -> dict[str, Tensor]:
    """The state dict of `model` under mmdet3d's names; `load_openmmlab` inverts it.

    Args:
        model: a `PointPillars` or `SECOND` with an anchor head.
        classes: order of the classes in mmdet3d's config. Default: Pedestrian, Cyclist, Car for these three, else
            the model's own order.
        layout: of sparse convolutions: "spconv2", or "spconv1" for mmcv's own.

    Raises:
        ConfigError: a model that mmdet3d has no counterpart of, or another layout.
    """
    if layout not in ("spconv1", "spconv2"):
        raise ConfigError(f"layout='{layout}'; expected 'spconv1' or 'spconv2'.")
    order = _class_order(model, classes)
    inverse = sorted(range(len(order)), key=order.__getitem__)
    layers = dict(model.named_modules())
    state = {}
    for name, value in _reorder(model, model.state_dict(), inverse).items():
        sparse = isinstance(layers[name.rpartition(".")[0]], (SparseConv3d, SubMConv3d)) and value.dim() == 5
        state[_renamed(model, name)] = spconv1_to_spconv2(value) if sparse and layout == "spconv2" else value
    return state


def _read(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} holds more than tensors. If you trust its source, pass torch.load(path, weights_only=False) "
            "instead of the path."
        ) from error


def _renamed(model: Detector, name: str) -> str:
    if type(model) not in NAMES or not isinstance(getattr(model, "head", None), AnchorHead):
        known = ", ".join(kind.__name__ for kind in NAMES)
        raise ConfigError(f"mmdet3d has no counterpart of this {type(model).__name__}; known: {known}, head='anchor'.")
    for ours, theirs in NAMES[type(model)].items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _converted(name: str, value: Tensor, layer: nn.Module, wrong: list[str]) -> Tensor:
    """`value` in the layout of ours; what does not fit either is noted in `wrong`."""
    if isinstance(layer, (SparseConv3d, SubMConv3d)) and value.dim() == 5:
        try:
            return convert_weight(value, layer)
        except DataError as error:
            wrong.append(f"{name}: {error}")
            return layer.weight
    return value


def _noted_classes(checkpoint: Mapping[str, Any]) -> Sequence[str] | None:
    meta = checkpoint.get("meta", {}) if "state_dict" in checkpoint else {}
    return (meta.get("dataset_meta") or {}).get("classes") or meta.get("CLASSES")


def _class_order(model: Detector, classes: Sequence[str] | None) -> list[int]:
    """For each class of the model its place in the checkpoint."""
    ours = tuple(getattr(model, "classes", ()))
    theirs = tuple(classes or (KITTI_CLASSES if set(ours) == set(KITTI_CLASSES) else ours))
    if sorted(theirs) != sorted(ours):
        raise DataError(f"The checkpoint's classes are {', '.join(theirs)}, the model's {', '.join(ours)}.")
    return [theirs.index(name) for name in ours]


def _reorder(model: Detector, state: Mapping[str, Tensor], order: Sequence[int]) -> dict[str, Tensor]:
    """The anchor head's rows, sorted by class, heading and (for scores) class again, with classes in another order."""
    result, count = dict(state), len(order)
    for name in ("conv_cls", "conv_reg", "conv_dir_cls"):
        for part in ("weight", "bias"):
            key = f"head.{name}.{part}"
            rows = result[key].unflatten(0, (count, -1))[list(order)]
            if name == "conv_cls":
                rows = rows.unflatten(1, (-1, count))[:, :, list(order)].flatten(1, 2)
            result[key] = rows.flatten(0, 1)
    return result


def _listed(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
