"""A dense head from a config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from structkd.errors import ConfigError
from structkd.models.points.anchor_head import AnchorHead
from structkd.models.points.anchors import Anchor, anchors_of
from structkd.models.points.center_head import CenterHead
from structkd.models.points.dense import Head
from structkd.models.points.layers import scaled

#: Channels within a `CenterHead` of width 1.
CENTER_CHANNELS = 64


def head_maker(
    kind: str,
    classes: Sequence[str],
    anchors: Mapping[str, Anchor | Mapping[str, Any]] | None,
    known: Mapping[str, Anchor],
    published: Mapping[str, Any],
    width: float,
    options: Mapping[str, Any] | None,
) -> Callable[[int, Sequence[float], tuple[int, int]], Head]:
    """What builds the head called `kind` for channels, bounds and H, W of the map that it reads.

    Args:
        kind: "anchor" or "center".
        classes: names.
        anchors: of a class, over `known`.
        known: published anchors.
        published: options of an `AnchorHead` that differ between detectors.
        width: factor on the channels within a `CenterHead`.
        options: further arguments of the head.

    Raises:
        ConfigError: an unknown kind, a class without an anchor, or anchors for a head that has none.
    """
    options = dict(options or {})
    if kind == "anchor":
        chosen = anchors_of(classes, anchors, known)
        return lambda channels, bounds, shape: AnchorHead(channels, chosen, bounds, shape, **{**published, **options})
    if kind == "center":
        if anchors:
            raise ConfigError("head='center' has no anchors; leave anchors away.")
        options.setdefault("channels", scaled(CENTER_CHANNELS, width))
        return lambda channels, bounds, shape: CenterHead(channels, len(classes), bounds, shape, **options)
    raise ConfigError(f"head='{kind}'; expected 'anchor' or 'center'.")
