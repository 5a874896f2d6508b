"""Students by a width factor: an mmdet3d model config with all channels scaled."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from structkd.errors import ConfigError, nearest
from structkd.models.points.layers import scaled

#: Parts of a detector in the order in which features pass them; names may begin with `pts_`.
PARTS = ("voxel_encoder", "middle_encoder", "backbone", "neck", "bbox_head", "rpn_head", "roi_head")
#: What a detector's config holds beside its parts.
OTHERS = ("type", "data_preprocessor", "train_cfg", "test_cfg", "init_cfg", "_scope_")
#: Channels of one output of a part, as they were and as they are now.
Channels = tuple[int, int]


def narrowed(model: Mapping[str, Any], width: float) -> dict[str, Any]:
    """The config of an mmdet3d detector with all its channels times `width`; depth, strides and grids stay.

    What a layer takes in follows from what the layers before it give, so that sums and concatenations fit after
    rounding. Input features, classes and box codes stay as they are.

    Args:
        model: config of a detector (`cfg.model`); is not changed.
        width: 0.5 is PointDistiller's "4x" student, 0.25 its "16x" one.

    Raises:
        ConfigError: a part of a type that this function does not know, channels that do not fit together, a width that
            leaves no channel.
    """
    if not width > 0:
        raise ConfigError(f"width={width}; expected a positive number.")
    student = copy.deepcopy(dict(model))
    order = {prefix + part: part for part in PARTS for prefix in ("", "pts_")}
    for name in student:
        if name not in order and name not in OTHERS and student[name] is not None:
            raise ConfigError(f"width={width}: {student.get('type')} has a part '{name}', which has no width rule.")
    channels: list[Channels] = []
    for name in order:
        if student.get(name) is not None:
            channels = _narrow(student[name], channels, width, f"model.{name}")
    return student


def _narrow(part: dict[str, Any], given: list[Channels], width: float, where: str) -> list[Channels]:
    kind = str(part.get("type")).rpartition(".")[2]
    if kind not in RULES:
        raise ConfigError(
            f"width={width}: {where} is a {kind}, whose channels are not known. {nearest(kind, RULES)} Write the "
            "student's config out instead."
        )
    try:
        return RULES[kind](part, given, lambda value: _times(value, width))
    except (KeyError, IndexError, TypeError) as error:
        raise ConfigError(f"width={width}: {where} ({kind}) lacks an entry or has another form: {error!r}.") from error


def _times(value: Any, width: float) -> Any:
    """Channels, or any nest of lists of them, times `width`; what is None stays."""
    if isinstance(value, (list, tuple)):
        return type(value)(_times(item, width) for item in value)
    return value if value is None else scaled(value, width)


def _joined(wanted: int, given: list[Channels]) -> int:
    """What a layer takes in that took in `wanted` channels: all of what is given, once or several times."""
    before, now = (sum(side) for side in zip(*given)) if given else (wanted, wanted)
    if wanted % before:
        raise ConfigError(f"A layer takes in {wanted} channels, but {before} come from the one before it.")
    return now * (wanted // before)


Scale = Callable[[Any], Any]
Rule = Callable[[dict[str, Any], list[Channels], Scale], list[Channels]]


def _raw_voxels(part: dict[str, Any], given: list[Channels], scale: Scale) -> list[Channels]:
    features = part.get("num_features", 4)
    return [(features, features)]


def _voxel_layers(part: dict[str, Any], given: list[Channels], scale: Scale) -> list[Channels]:
    before = part.get("feat_channels", [64])
    part["feat_channels"] = scale(before)
    return [(before[-1], part["feat_channels"][-1])]


def _scatter(part: dict[str, Any], given: list[Channels], scale: Scale) -> list[Channels]:
    part["in_channels"] = _joined(part["in_channels"], given)
    return given


def _sparse_encoder(part: dict[str, Any], given: list[Channels], scale: Scale) -> list[Channels]:
    part["in_channels"] = _joined(part["in_channels"], given)
    defaults = {
        "base_channels": 16,
        "output_channels": 128,
        "encoder_channels": ((16,), (32, 32, 32), (64, 64, 64), (64, 64, 64)),
    }
    before = part.get("output_channels", defaults["output_channels"])
    for name, default in defaults.items():
        part[name] = scale(part.get(name, default))
    return [(before, part["output_channels"])]


def _backbone(part: dict[str, Any], given: list[Channels], scale: Scale) -> list[Channels]:
    before = part["out_channels"]
    part["in_channels"], part["out_channels"] = _joined(part["in_channels"], given), scale(before)
    return list(zip(before, part["out_channels"]))


def _neck(part: dict[str, Any], given: list[Channels], scale: Scale) -> list[Channels]:
    before = part["out_channels"]
    part["in_channels"], part["out_channels"] = [now for _, now in given], scale(before)
    if isinstance(before, int):  # one width for all levels
        return [(before, part["out_channels"])]
    return [(sum(before), sum(part["out_channels"]))]


def _anchor_head(part: dict[str, Any], given: list[Channels], scale: Scale) -> list[Channels]:
    part["in_channels"] = _joined(part["in_channels"], given)
    part["feat_channels"] = _joined(part.get("feat_channels", 256), given)  # of the same map: there is no layer between
    return given


def _center_head(part: dict[str, Any], given: list[Channels], scale: Scale) -> list[Channels]:
    part["in_channels"] = _joined(part["in_channels"], given)
    part["share_conv_channel"] = scale(part.get("share_conv_channel", 64))
    separate = part["separate_head"]
    if separate["type"] != "SeparateHead":
        raise ConfigError(f"The CenterHead's separate_head is a {separate['type']}, whose channels are not known.")
    separate["head_conv"] = scale(separate.get("head_conv", 64))
    return given


def _set_abstraction(part: dict[str, Any], given: list[Channels], scale: Scale) -> list[Channels]:
    """The levels' channels; those of the points themselves come first."""
    raw = part["in_channels"] - 3
    mlps, joins = part["sa_channels"], part.get("aggregation_channels") or [None] * len(part["sa_channels"])
    part["sa_channels"], part["aggregation_channels"] = scale(mlps), scale(joins)
    levels = [(raw, raw)]
    for level, join in enumerate(joins):
        now, before = part["sa_channels"][level], mlps[level]
        if join is None:
            levels.append((sum(mlp[-1] for mlp in before), sum(mlp[-1] for mlp in now)))
        else:
            levels.append((join, part["aggregation_channels"][level]))
    return levels


def _feature_propagation(part: dict[str, Any], given: list[Channels], scale: Scale) -> list[Channels]:
    coarse, layers = given[-1][1], []
    for mlp, (_, fine) in zip(part["fp_channels"], reversed(given[:-1])):
        layers.append((coarse + fine, *scale(list(mlp[1:]))))
        coarse = layers[-1][-1]
    before = part["fp_channels"][-1][-1]
    part["fp_channels"] = tuple(layers)
    return [(before, coarse)]


def _prediction_layers(part: dict[str, Any], given: list[Channels], scale: Scale) -> list[Channels]:
    layers = part["pred_layer_cfg"]
    for name in [name for name in layers if name.endswith("_channels") and name != "in_channels"]:
        layers[name] = scale(layers[name])
    layers["in_channels"] = _joined(layers["in_channels"], given[-1:])
    return given


def _region_head(part: dict[str, Any], given: list[Channels], scale: Scale) -> list[Channels]:
    head = part["bbox_head"]
    if head.get("type") != "PointRCNNBboxHead":
        raise ConfigError(f"The RoI head's bbox_head is a {head.get('type')}, whose channels are not known.")
    before = head["sa_channels"][-1][-1]
    head["mlp_channels"], head["sa_channels"] = scale(head["mlp_channels"]), scale(head["sa_channels"])
    # Points come in lifted to as many channels as their features have.
    head["mlp_channels"][-1] = given[-1][1]
    return _prediction_layers(head, [(before, head["sa_channels"][-1][-1])], scale)


def _vote_head(part: dict[str, Any], given: list[Channels], scale: Scale) -> list[Channels]:
    vote, gather = part["vote_module_cfg"], part["vote_aggregation_cfg"]
    vote["in_channels"] = _joined(vote["in_channels"], given[-1:])
    vote["conv_channels"] = scale(vote["conv_channels"])
    before = sum(mlp[-1] for mlp in gather["mlp_channels"])
    gather["mlp_channels"] = tuple(
        (_joined(mlp[0], given[-1:]), *scale(list(mlp[1:]))) for mlp in gather["mlp_channels"]
    )
    return _prediction_layers(part, [(before, sum(mlp[-1] for mlp in gather["mlp_channels"]))], scale)


#: Type of a part -> how it becomes narrower, given the channels that come in; returns those that it gives out.
RULES: dict[str, Rule] = {
    **dict.fromkeys(("HardSimpleVFE", "DynamicSimpleVFE"), _raw_voxels),
    **dict.fromkeys(("PillarFeatureNet", "DynamicPillarFeatureNet", "HardVFE", "DynamicVFE"), _voxel_layers),
    "PointPillarsScatter": _scatter,
    "SparseEncoder": _sparse_encoder,
    "SECOND": _backbone,
    **dict.fromkeys(("SECONDFPN", "FPN"), _neck),
    "Anchor3DHead": _anchor_head,
    "CenterHead": _center_head,
    "PointNet2SAMSG": _set_abstraction,
    "PointNetFPNeck": _feature_propagation,
    "PointRPNHead": _prediction_layers,
    "PointRCNNRoIHead": _region_head,
    "SSD3DHead": _vote_head,
}
