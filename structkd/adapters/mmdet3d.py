"""MMDet3DAdapter: any LiDAR detector of mmdet3d read as a Structure, by module paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from structkd.adapters.base import Adapter
from structkd.adapters.mmdet3d_elements import read_elements
from structkd.adapters.mmdet3d_heads import KINDS, MMDet3DDetection, head_maps, head_of, kept, kind_of
from structkd.adapters.points import ELEMENT_FIELDS, HEAD_FIELDS
from structkd.adapters.taps import check_taps
from structkd.errors import WiringError
from structkd.structure import Structure

#: Names of our own -> the part of an mmdet3d detector that gives them; the part's name may begin with `pts_`.
PLACES = {"pillars": "voxel_encoder", "voxels": "voxel_encoder", "points": "neck", "canvas": "middle_encoder"}


class MMDet3DAdapter(Adapter):
    """Reads one forward pass of an mmdet3d detector, through forward hooks; the detector is not changed.

    Names are those of `DetectorAdapter`, so that configs of distillers fit both.

    Args:
        elements: the set whose features become `x` [N, C], with `pos` [N, 3] in metres (LiDAR frame), `batch` [N] and
            `n_id` [N]: "pillars" or "voxels", the rows of the voxel encoder, with the points in each cell as
            `importance` [N]; "points", the points behind a point network's neck (PointRCNN); or the path of a module
            that gives a sparse tensor ("middle_encoder.encoder_layers.encoder_layer3") or sampled points
            ("backbone.SA_modules.0", before its channels are joined). `None` reads none.
        maps: dense maps to read, each a field [B, C, H, W] of its own name: "canvas" (what the backbone reads),
            "backbone_0", ..., "neck" (its first level), "neck_1", ...
        head: also read the head's `logits` [B, A, K, H, W] and `box_map` [B, A, D, H, W], see `head_maps`; of a
            two-stage detector, those of its first stage.
        taps: further fields, name -> module path; of several outputs the first is taken.

    Called with a dict of `inputs`, what the detector's data preprocessor gave, `data_samples`, and `mode`: "loss" runs
    the detector's own loss, and `detection.losses` holds it under its own names; "tensor" (default) runs the network
    up to its (first) head.

    The Structure also holds `detection` and the labelled objects `boxes` [M, 7 or 9], `labels` [M] and `boxes_batch`
    [M], where the batch has them.

    Errors: `WiringError` for a part or path that the detector does not have, and for a module that did not run.
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
        for name in self.maps:
            if name not in ("canvas", "neck") and not (name.startswith(("backbone_", "neck_")) and _level(name) >= 0):
                raise WiringError(f"MMDet3DAdapter(maps): '{name}' is no map; expected canvas, backbone_0, ..., neck.")
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
        self._readers(model, {})

    def __call__(self, model: nn.Module, inputs: Any) -> Structure:
        batch, data_samples, mode = inputs["inputs"], inputs["data_samples"], inputs.get("mode", "tensor")
        fields: dict[str, Any] = dict(_targets(data_samples))  # first: anchor heads' losses write into the labels
        readers = self._readers(model, batch)
        with _reading(model, readers) as found:
            losses = model(batch, data_samples, mode="loss") if mode == "loss" else {}
            if mode != "loss":
                run_network(model, batch, data_samples, self.head)
        for name in readers:
            if name not in found:
                raise WiringError(
                    f"'{name}' was not read: its module did not run in mode '{mode}' of {type(model).__name__}, which "
                    + ("ends with its (first) head." if mode != "loss" else "is its own loss.")
                )
            fields |= found[name]
        output = fields.pop("head_output", None)
        return Structure(**fields, detection=MMDet3DDetection(model, losses, output, data_samples))

    def _readers(self, model: nn.Module, batch: Mapping[str, Any]) -> dict[str, tuple[str, Callable[[Any], Any]]]:
        """Name -> module path, and what turns the module's output into fields."""
        readers: dict[str, tuple[str, Callable[[Any], Any]]] = {}
        if self.elements is not None:
            path = self._path(model, self.elements)
            readers["elements"] = path, partial(read_elements, model=model, inputs=batch, place=path)
        for name in self.maps:
            readers[name] = self._path(model, name), partial(_map, name)
        for name, path in self.taps.items():
            readers[name] = path, partial(_first, name)
        if self.head:
            place = head_of(model)
            if place is None or kind_of(place[1]) is None:
                what = "none" if place is None else f"a {type(place[1]).__name__}"
                raise WiringError(
                    f"{type(model).__name__}: the head read by head=True must be of {', '.join(KINDS)}; this is {what}."
                )
            readers["head"] = place[0], partial(_head, place[1])
        check_taps(model, {name: path for name, (path, _) in readers.items()})
        return readers

    @staticmethod
    def _path(model: nn.Module, name: str) -> str:
        part = PLACES.get(name, name.partition("_")[0] if name.startswith(("backbone_", "neck_")) else name)
        return f"pts_{part}" if not hasattr(model, part) and hasattr(model, f"pts_{part}") else part


def run_network(model: nn.Module, batch: Mapping[str, Any], data_samples: list[Any], head: bool) -> None:
    """The network up to its features, or to its (first) head: what `mode="tensor"` does where mmdet3d has it right.

    Two-stage detectors fail in that mode in mmdet3d 1.4, and point networks go on to sample votes.
    """
    from mmdet3d.models import MVXTwoStageDetector

    if isinstance(model, MVXTwoStageDetector):
        _, features = model.extract_feat(batch, [sample.metainfo for sample in data_samples])
    else:
        features = model.extract_feat(batch)  # type: ignore[operator]
    place = head_of(model)
    if head and place is not None:
        place[1](features)


@contextmanager
def _reading(
    model: nn.Module, readers: Mapping[str, tuple[str, Callable[[Any], Any]]]
) -> Iterator[dict[str, dict[str, Any]]]:
    """Fields of each reader, made while the network runs: what follows may write into a module's output."""
    found: dict[str, dict[str, Any]] = {}
    modules, handles = dict(model.named_modules()), []
    for name, (path, read) in readers.items():

        def keep(_module: Any, _args: Any, output: Any, name: str = name, read: Any = read) -> None:
            found[name] = read(output)

        handles.append(modules[path].register_forward_hook(keep))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _level(name: str) -> int:
    number = name.rpartition("_")[2]
    return int(number) if number.isdigit() else -1


def _map(name: str, output: Any) -> dict[str, Tensor]:
    levels = list(output) if isinstance(output, (tuple, list)) else [output]
    level = max(_level(name), 0)
    if level >= len(levels) or not isinstance(levels[level], Tensor) or levels[level].dim() != 4:
        raise WiringError(f"There is no map '{name}' [B, C, H, W] among the {len(levels)} outputs of its module.")
    return {name: levels[level]}


def _first(name: str, output: Any) -> dict[str, Any]:
    return {name: output[0] if isinstance(output, (tuple, list)) else output}


def _head(head: nn.Module, output: Any) -> dict[str, Any]:
    return {**head_maps(head, output), "head_output": kept(head, output)}


def _targets(data_samples: Sequence[Any]) -> dict[str, Tensor]:
    """The labelled objects of all scenes."""
    objects = [sample.get("gt_instances_3d") for sample in data_samples]
    if not objects or any(own is None or "bboxes_3d" not in own for own in objects):
        return {}
    boxes = [own.bboxes_3d.tensor for own in objects]
    count = torch.tensor([len(own) for own in boxes], device=boxes[0].device)
    return {
        "boxes": torch.cat(boxes),
        "labels": torch.cat([own.labels_3d for own in objects]).long(),
        "boxes_batch": torch.arange(len(boxes), device=count.device).repeat_interleave(count),
    }
