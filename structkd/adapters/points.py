"""DetectorAdapter: a LiDAR detector read as a Structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from structkd.adapters.base import Adapter
from structkd.adapters.taps import check_taps, tapped
from structkd.errors import WiringError, nearest
from structkd.structure import Structure

#: What a set of elements brings; `importance` (points in a cell) only where the set has it.
ELEMENT_FIELDS = ("x", "pos", "batch", "n_id")
#: What every detector gives beside its features.
HEAD_FIELDS = ("detection", "boxes", "labels", "boxes_batch")


class DetectorAdapter(Adapter):
    """Reads one forward pass of a `structkd.models.Detector` on `Scenes`.

    Args:
        elements: the set whose features become `x` [N, C], with `pos` [N, 3] in metres (LiDAR frame), `batch` [N],
            `n_id` [N] and, for pillars and voxels, `importance` [N], the points in each cell: "pillars"
            (PointPillars), "voxels" (SECOND), "points" (PointRCNN). `None` reads none.
        maps: dense maps to read, each a field [B, C, H, W] of its own name: "canvas", "backbone_0", ..., "neck".
        head: also read the dense head's `logits` [B, A, K, H, W] and `box_map` [B, A, 7, H, W].
        taps: further fields, name -> submodule path.

    The Structure also holds `detection` (what the pass found: `.loss(boxes, labels, boxes_batch)` and `.predict()`)
    and the labelled objects `boxes` [M, 7], `labels` [M], `boxes_batch` [M].

    Errors: `WiringError` for a set or a map that the detector does not have, listing those it has.
    """

    def __init__(
        self,
        elements: str | None = None,
        maps: Sequence[str] = (),
        head: bool = False,
        taps: Mapping[str, str] | None = None,
    ) -> None:
        self.elements, self.maps, self.head = elements, tuple(maps), head
        self.taps = dict(taps or {})
        counted = {"importance"} if elements in ("pillars", "voxels") else set()
        self.provides = frozenset(
            {
                *HEAD_FIELDS,
                *(ELEMENT_FIELDS if elements is not None else ()),
                *counted,
                *self.maps,
                *(("logits", "box_map") if head else ()),
                *self.taps,
            }
        )

    def check(self, model: nn.Module) -> None:
        check_taps(model, self.taps)

    def __call__(self, model: nn.Module, inputs: Any) -> Structure:
        with tapped(model, self.taps) as outputs:
            detection = model(inputs)
        fields: dict[str, Any] = {name: self._find(detection.maps, name, model, "map") for name in self.maps}
        if self.elements is not None:
            found = self._find(detection.elements, self.elements, model, "set of elements")
            fields |= {name: getattr(found, name) for name in (*ELEMENT_FIELDS, "importance")}
        if self.head:
            if detection.logits is None:
                raise WiringError(f"{type(model).__name__} has no dense head, so no logits and no box_map to read.")
            fields |= {"logits": detection.logits, "box_map": detection.box_map}
        fields |= {name: inputs.get(name) for name in ("boxes", "labels", "boxes_batch")}
        return Structure(**fields, **outputs, detection=detection)

    @staticmethod
    def _find(found: Mapping[str, Any], name: str, model: nn.Module, kind: str) -> Any:
        if name not in found:
            raise WiringError(f"{type(model).__name__} has no {kind} '{name}'. {nearest(name, found)}")
        return found[name]
