"""Weights of mmdet3d's detectors for ours, and ours for mmdet3d."""

from __future__ import annotations

import ast
import os
import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from structkd.errors import ConfigError, DataError, reason
from structkd.files import load_tensors
from structkd.models.points.detector import Detector
from structkd.models.points.openmmlab_names import kernel, their_names
from structkd.models.points.point_rcnn import PointRCNN
from structkd.models.points.sparse import SparseConv3d, SubMConv3d, convert_weight, spconv1_to_spconv2

#: Order of the classes in mmdet3d's three-class KITTI configs.
KITTI_CLASSES = ("Pedestrian", "Cyclist", "Car")
#: What checkpoints from before batch norm counted its batches do not hold.
_OPTIONAL = "num_batches_tracked"
#: The list in the text of a config; that of mmengine is at `meta["cfg"]`, that of mmcv 1 at `meta["config"]`.
_MEAN_SIZES = re.compile(r"\bmean_size['\"]?\s*[=:]\s*([\[(]\s*[\[(].*?[\])],?\s*[\])])", re.DOTALL)


def load_openmmlab(
    model: Detector,
    checkpoint: str | os.PathLike[str] | Mapping[str, Any],
    classes: Sequence[str] | None = None,
) -> None:
    """Fill `model` with the weights of an mmdet3d checkpoint (version 1.0 or later; earlier ones turn boxes otherwise).

    To get mmdet3d's boxes, build a PointPillars or SECOND with `voxelization="hard"` (and for PointPillars
    `legacy=True`, the default), a PointRCNN with `proposals=(9000, 512, 512)`, `region_extra=0` and the checkpoint's
    mean sizes. Those stand in its config only, by place: in the order of the config's classes.

    Args:
        model: a `PointPillars` or `SECOND` with an anchor head, or a `PointRCNN`.
        checkpoint: path, what `torch.load` gave for it, or its state dict. Sparse convolutions may be in the layout of
            mmcv and spconv 1 or of spconv 2.
        classes: the checkpoint's classes in order. Default: as noted in it, else Pedestrian, Cyclist, Car for three
            classes. Scores and anchors are put in the order of the model's classes.

    Raises:
        DataError: names or shapes that do not fit, listed; a file that cannot be read; other classes than the model's;
            other mean sizes than the model's in the config that the checkpoint carries.
        ConfigError: a model that mmdet3d has no counterpart of.

    Differences: PointRCNN's config has the classes Pedestrian, Cyclist, Car since mmdet3d 1.1, but still the mean sizes
    of Car, Pedestrian, Cyclist, which was the order of its classes when the checkpoint in the model zoo was published.
    A checkpoint of the newer config has learnt with the sizes of other classes and needs a model with those as
    `mean_sizes`.
    """
    given = _read(checkpoint) if isinstance(checkpoint, (str, os.PathLike)) else checkpoint
    state = given.get("state_dict", given)
    order = _class_order(model, classes or _noted_classes(given))
    expected, names = model.state_dict(), their_names(model)
    if isinstance(model, PointRCNN):
        _check_mean_sizes(model, given, order)
    missing = [theirs for theirs in names.values() if theirs not in state and not theirs.endswith(_OPTIONAL)]
    unexpected = sorted(set(state) - set(names.values()))
    layers = dict(model.named_modules())
    converted: dict[str, Tensor] = {}
    wrong: list[str] = []
    for ours, theirs in names.items():
        if theirs in state:
            layer = layers[ours.rpartition(".")[0]]
            value = _converted(ours, state[theirs], layer, wrong)
            shape = (*expected[ours].shape, *_kernel(layer, theirs))
            if value.shape == shape:
                value = value.reshape(expected[ours].shape)
            else:
                wrong.append(f"{theirs} is {tuple(value.shape)}, expected {shape}")
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

    For PointRCNN mmdet3d's config has to list the mean sizes of the model in the order of its classes, see
    `load_openmmlab`.

    Args:
        model: a `PointPillars` or `SECOND` with an anchor head, or a `PointRCNN`.
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
    layers, names = dict(model.named_modules()), their_names(model)
    state = {}
    for name, value in _reorder(model, model.state_dict(), inverse).items():
        layer = layers[name.rpartition(".")[0]]
        if isinstance(layer, (SparseConv3d, SubMConv3d)) and value.dim() == 5 and layout == "spconv2":
            value = spconv1_to_spconv2(value)
        state[names[name]] = value.reshape((*value.shape, *_kernel(layer, names[name])))
    return state


def _read(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    try:
        return load_tensors(os.fspath(path))
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} holds more than tensors. If you trust its source, pass torch.load(path, weights_only=False) "
            "instead of the path."
        ) from error
    except Exception as error:  # what is raised depends on where the bytes stop making sense
        raise DataError(f"{path} is no readable checkpoint (missing, truncated?): {reason(error)}") from error


def _converted(name: str, value: Tensor, layer: nn.Module, wrong: list[str]) -> Tensor:
    """`value` in the layout of ours; what does not fit either is noted in `wrong`."""
    if isinstance(layer, (SparseConv3d, SubMConv3d)) and value.dim() == 5:
        try:
            return convert_weight(value, layer)
        except DataError as error:
            wrong.append(f"{name}: {error}")
            return layer.weight
    return value


def _kernel(layer: nn.Module, name: str) -> tuple[int, ...]:
    """What mmdet3d's parameter `name` has in its shape after that of ours."""
    return kernel(name) if isinstance(layer, nn.Linear) else ()


def _meta(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    return checkpoint.get("meta", {}) if "state_dict" in checkpoint else {}


def _noted_classes(checkpoint: Mapping[str, Any]) -> Sequence[str] | None:
    meta = _meta(checkpoint)
    return (meta.get("dataset_meta") or {}).get("classes") or meta.get("CLASSES")


def _class_order(model: Detector, classes: Sequence[str] | None) -> list[int]:
    """For each class of the model its place in the checkpoint."""
    ours = tuple(getattr(model, "classes", ()))
    theirs = tuple(classes or (KITTI_CLASSES if set(ours) == set(KITTI_CLASSES) else ours))
    if sorted(theirs) != sorted(ours):
        raise DataError(f"The checkpoint's classes are {', '.join(theirs)}, the model's {', '.join(ours)}.")
    return [theirs.index(name) for name in ours]


def _check_mean_sizes(model: PointRCNN, checkpoint: Mapping[str, Any], order: Sequence[int]) -> None:
    """`DataError` if the text of the config in the checkpoint has other mean sizes than the model."""
    meta = _meta(checkpoint)
    found = _MEAN_SIZES.search(str(meta.get("cfg") or meta.get("config")))
    if found is None:
        return
    sizes = ast.literal_eval(found[1])
    theirs = {name: tuple(sizes[i]) for name, i in zip(model.classes, order) if i < len(sizes)}
    ours = model.point_head.mean_sizes.tolist()
    if len(theirs) < len(ours) or not torch.allclose(torch.tensor(list(theirs.values())).float(), torch.tensor(ours)):
        raise DataError(
            f"The config in the checkpoint has other mean sizes than the model: build it with mean_sizes={theirs}, "
            "or leave the config's text out of the checkpoint if it was trained otherwise."
        )


def _reorder(model: Detector, state: Mapping[str, Tensor], order: Sequence[int]) -> dict[str, Tensor]:
    """The head's rows that belong to a class, with classes in another order.

    The anchor head's rows are sorted by class, heading and (for scores) class again; those of PointRCNN's point scores
    by class. Its boxes and its second stage are the same to all classes.
    """
    result, count = dict(state), len(order)
    if isinstance(model, PointRCNN):
        for part in ("weight", "bias"):
            result[f"point_head.cls.{part}"] = result[f"point_head.cls.{part}"][list(order)]
        return result
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
