"""mmdet3d's names for the parameters of our detectors, and its shapes where they differ."""

from __future__ import annotations

import re

from structkd.errors import ConfigError
from structkd.models.points.anchor_head import AnchorHead
from structkd.models.points.detector import Detector
from structkd.models.points.point_rcnn import PointRCNN
from structkd.models.points.pointnet2 import PointMLP
from structkd.models.points.pointpillars import PointPillars
from structkd.models.points.second import SECOND

#: Beginning of a name here -> beginning of mmdet3d's; all other names are equal.
PREFIXES: dict[type[Detector], dict[str, str]] = {
    PointPillars: {"voxel_encoder.": "voxel_encoder.pfn_layers.0.", "head.": "bbox_head."},
    SECOND: {"head.": "bbox_head."},
}
#: Where a `PointMLP` of ours is -> beginning of mmdet3d's names of its layers; a number and `conv` or `bn` follow.
_POINT_MLPS = {
    r"backbone\.down\.(\d+)\.mlps\.(\d+)": r"backbone.SA_modules.\1.mlps.\2.layer",
    r"backbone\.up\.(\d+)\.mlp": r"neck.FP_modules.\1.mlps.layer",
    r"roi_head\.lift": r"roi_head.bbox_head.xyz_up_layer.",
    r"roi_head\.down\.(\d+)\.mlps\.0": r"roi_head.bbox_head.SA_modules.\1.mlps.0.layer",
    r"roi_head\.cls_layers": r"roi_head.bbox_head.cls_convs.layer",
    r"roi_head\.box_layers": r"roi_head.bbox_head.reg_convs.layer",
}


def their_names(model: Detector) -> dict[str, str]:
    """Name in the state dict of `model` -> mmdet3d's.

    Raises:
        ConfigError: a model that mmdet3d has no counterpart of.
    """
    names = list(model.state_dict())
    if type(model) is PointRCNN:
        layers = _point_rcnn_layers(model)
        parts = {name: name.rpartition(".") for name in names}
        return {name: f"{layers[layer]}.{part}" for name, (layer, _, part) in parts.items()}
    if type(model) not in PREFIXES or not isinstance(getattr(model, "head", None), AnchorHead):
        known = ", ".join(kind.__name__ for kind in PREFIXES)
        raise ConfigError(
            f"mmdet3d has no counterpart of this {type(model).__name__}; known: {known}, head='anchor'; PointRCNN."
        )
    return {name: _with_prefix(name, PREFIXES[type(model)]) for name in names}


def kernel(name: str) -> tuple[int, ...]:
    """Shape of the kernel (all ones) that mmdet3d's weight `name` has where ours is a linear layer's [out, in]."""
    if not name.endswith(".weight"):
        return ()
    if re.search(r"\.bbox_head\.(cls_convs|reg_convs)\..*\.conv\.|\.bbox_head\.conv_(cls|reg)\.", name):
        return (1,)
    return (1, 1) if ".conv." in name else ()


def _with_prefix(name: str, prefixes: dict[str, str]) -> str:
    for ours, theirs in prefixes.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _point_rcnn_layers(model: PointRCNN) -> dict[str, str]:
    """Every layer of ours that has parameters -> mmdet3d's."""
    head = "roi_head.bbox_head"
    layers = {"roi_head.merge.lins.0": f"{head}.merge_down_layer.conv"}
    # The last of mmdet3d's set abstractions is over all points.
    point_mlps = _POINT_MLPS | {
        r"roi_head\.globally\.mlp": f"{head}.SA_modules.{len(model.roi_head.down)}.mlps.0.layer"
    }
    for path, mlp in model.named_modules():
        for ours, theirs in point_mlps.items():
            if isinstance(mlp, PointMLP) and (found := re.fullmatch(ours, path)):
                for i in range(len(mlp.lins)):
                    layers[f"{path}.lins.{i}"] = f"{found.expand(theirs)}{i}.conv"
                    layers[f"{path}.norms.{i}"] = f"{found.expand(theirs)}{i}.bn"
    points = model.point_head
    for ours, theirs, mlp in (("cls", "cls", points.cls_layers), ("box", "reg", points.box_layers)):
        # One list there: a linear layer, a norm and a ReLU over and over, then the last linear layer.
        for i in range(len(mlp.lins)):
            layers[f"point_head.{ours}_layers.lins.{i}"] = f"rpn_head.{theirs}_layers.{3 * i}"
            layers[f"point_head.{ours}_layers.norms.{i}"] = f"rpn_head.{theirs}_layers.{3 * i + 1}"
        layers[f"point_head.{ours}"] = f"rpn_head.{theirs}_layers.{3 * len(mlp.lins)}"
        layers[f"roi_head.{ours}"] = f"{head}.conv_{theirs}"
    return layers
