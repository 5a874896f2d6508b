"""How many channels a field has that an adapter reads of an mmdet3d detector, known before the first batch."""

from __future__ import annotations

from torch import nn

from structkd.adapters.mmdet3d import MMDet3DAdapter


def channels_of(model: nn.Module, field: str, adapter: MMDet3DAdapter) -> int | None:
    """C of `field` in the Structures that `adapter` reads of `model`; None where the layers do not tell it."""
    path = adapter.elements if field == "x" else adapter.taps.get(field)
    if field == "x" and path is None:
        return None
    if path in ("pillars", "voxels"):
        return _encoder(_part(model, "voxel_encoder"))
    if path == "points":
        return _last(getattr(_part(model, "neck"), "FP_modules", None))
    if path is not None:
        return _last(dict(model.named_modules()).get(path))
    if field == "canvas":
        convs = [layer for layer in _layers(_part(model, "backbone")) if isinstance(layer, nn.Conv2d)]
        return convs[0].in_channels if convs else None
    if field.startswith("backbone_"):
        blocks, level = getattr(_part(model, "backbone"), "blocks", ()), field.rpartition("_")[2]
        return _last(blocks[int(level)]) if level.isdigit() and int(level) < len(blocks) else None
    if field.startswith("neck"):
        given = getattr(_part(model, "neck"), "out_channels", None)
        return sum(given) if isinstance(given, (list, tuple)) else given
    return None


def _part(model: nn.Module, name: str) -> nn.Module | None:
    return getattr(model, name, None) or getattr(model, f"pts_{name}", None)


def _encoder(encoder: nn.Module | None) -> int | None:
    layers = getattr(encoder, "pfn_layers", getattr(encoder, "vfe_layers", None))
    return _last(layers) if layers is not None else getattr(encoder, "num_features", None)


def _layers(module: nn.Module | None) -> list[nn.Module]:
    return [] if module is None else list(module.modules())


def _last(module: nn.Module | None) -> int | None:
    """What the last layer gives out; the branches of a set abstraction are joined."""
    branches = getattr(module, "mlps", None)
    if isinstance(branches, nn.ModuleList):
        widths = [_last(branch) for branch in branches]
        return None if None in widths else sum(width for width in widths if width)
    for layer in reversed(_layers(module)):
        for name in ("num_features", "out_channels", "out_features"):
            if isinstance(width := getattr(layer, name, None), int):
                return width
    return None
