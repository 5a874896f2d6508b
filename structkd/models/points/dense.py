"""Detectors with one head on a dense map seen from above: what they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor, nn

from structkd.datasets.points.scenes import Scenes
from structkd.models.points.backbone import Backbone, Neck, head_shape
from structkd.models.points.detector import Detection, Detector, Elements
from structkd.models.points.layers import scaled
from structkd.models.points.targets import check_targets


@dataclass
class HeadOutput:
    """Maps of a dense head: `logits` [B, A, K, H, W], `box_map` [B, A, D, H, W], `direction` [B, A, 2, H, W]."""

    logits: Tensor
    box_map: Tensor
    direction: Tensor | None = None


class Head(nn.Module):
    """A dense head: maps from features [B, C, H, W], their loss, and boxes from them."""

    num_classes: int

    def forward(self, x: Tensor) -> HeadOutput:
        raise NotImplementedError

    def loss(self, output: HeadOutput, boxes: Tensor, labels: Tensor, boxes_batch: Tensor) -> dict[str, Tensor]:
        """As `Detection.loss`."""
        raise NotImplementedError

    def predict(self, output: HeadOutput) -> list[dict[str, Tensor]]:
        """As `Detection.predict`."""
        raise NotImplementedError


class DenseDetection(Detection):
    """A `Detection` whose boxes stand on a dense map."""

    def __init__(
        self,
        num_scenes: int,
        elements: dict[str, Elements],
        maps: dict[str, Tensor],
        head: Head,
        output: HeadOutput,
        bounds: tuple[float, float, float, float],
    ) -> None:
        super().__init__(num_scenes, elements, maps, output.logits, output.box_map, bounds)
        self.head, self.output = head, output

    def loss(self, boxes: Tensor, labels: Tensor, boxes_batch: Tensor) -> dict[str, Tensor]:
        check_targets(boxes, labels, boxes_batch, self.head.num_classes)
        return self.head.loss(self.output, boxes, labels, boxes_batch)

    @torch.no_grad()
    def predict(self) -> list[dict[str, Tensor]]:
        return self.head.predict(self.output)


class DenseDetector(Detector):
    """Points -> canvas -> `Backbone` -> `Neck` -> head: what PointPillars and SECOND share.

    A subclass gives `canvas_of`, and describes the arguments; `make_head` gets channels, bounds and H, W of its map.
    """

    def __init__(
        self,
        classes: Sequence[str],
        canvas_channels: int,
        canvas_shape: tuple[int, int],
        point_range: Sequence[float],
        layer_nums: Sequence[int],
        strides: Sequence[int],
        channels: Sequence[int],
        neck_strides: Sequence[float],
        neck_channels: Sequence[int],
        width: float,
        make_head: Callable[[int, Sequence[float], tuple[int, int]], Head],
    ) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.point_range = tuple(float(value) for value in point_range)
        x0, y0, _, x1, y1, _ = self.point_range
        self.bounds = (x0, y0, x1, y1)
        channels, neck_channels = [[scaled(c, width) for c in counts] for counts in (channels, neck_channels)]
        shape = head_shape(canvas_shape, strides, neck_strides)
        self.backbone = Backbone(canvas_channels, layer_nums, strides, channels)
        self.neck = Neck(channels, neck_channels, neck_strides)
        self.head = make_head(sum(neck_channels), self.bounds, shape)

    def canvas_of(self, scenes: Scenes) -> tuple[Tensor, dict[str, Elements]]:
        """The map [B, C, H, W] that the backbone reads, and the sparse sets on the way to it."""
        raise NotImplementedError

    @overload
    def forward(self, scenes: Scenes) -> DenseDetection: ...

    @overload
    def forward(self, scenes: Tensor) -> dict[str, Tensor]: ...

    def forward(self, scenes: Scenes | Tensor) -> DenseDetection | dict[str, Tensor]:
        """What is found in scenes.

        Given a canvas [B, C, H, W] instead, only the dense network runs and its head's maps are returned by name: what
        `torch.export` and ONNX can hold, and where nearly all of the time goes. Scattering points into a canvas and
        suppressing boxes are left to the place where it is deployed.
        """
        if isinstance(scenes, Tensor):
            output = self.head(self.neck(self.backbone(scenes)))
            return {name: value for name, value in vars(output).items() if value is not None}
        canvas, elements = self.canvas_of(scenes)
        maps = self.backbone(canvas)
        neck = self.neck(maps)
        named = {"canvas": canvas, **{f"backbone_{i}": x for i, x in enumerate(maps)}, "neck": neck}
        return DenseDetection(scenes.num_scenes, elements, named, self.head, self.head(neck), self.bounds)
