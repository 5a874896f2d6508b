"""The head of PointPillars and SECOND: anchors of each class at every cell."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from structkd.models.points.anchors import ROTATIONS, Anchor, AnchorGrid
from structkd.models.points.assign import assign
from structkd.models.points.box_coder import decode, direction_of, encode, sine_difference, with_direction
from structkd.models.points.dense import Head, HeadOutput
from structkd.models.points.losses import negative_focal, positive_focal, smooth_l1
from structkd.models.points.suppression import best_boxes
from structkd.ops.precision import accumulator

#: Weights of the classification, the box and the direction loss.
WEIGHTS = (1.0, 2.0, 0.2)
#: Score that every anchor starts with, so that the many background anchors do not swamp the first steps.
PRIOR = 0.01


class AnchorHead(Head):
    """Scores, box differences and directions of A = classes * headings anchors a cell, by three 1 x 1 convolutions.

    Args:
        in_channels: C of the map it reads.
        anchors: one a class.
        bounds: x0, y0, x1, y1 in metres that the map covers.
        shape: H, W of the map.
        per_class: an object is matched only with anchors of its own class (PointPillars), or with all (SECOND).
        centred: anchors stand at the centres of cells, or from border to border (see `AnchorGrid.build`).
        rotations: headings of the anchors, radians.
        score_threshold: boxes below this are not reported.
        nms_threshold: highest overlap of two reported boxes of a class, seen from above.
        nms_pre: anchors of a scene that go into the suppression.
        max_boxes: boxes reported of a scene.

    Losses: `cls`, focal (alpha 0.25, gamma 2), weight 1; `box`, smooth L1 (beta 1/9) on encoded boxes with the sine
    of the difference of headings, weight 2; `dir`, cross entropy, weight 0.2. Each is summed over the batch and
    divided by the batch's number of positive anchors, where a scene without any counts as one: a mean over scenes
    that weighs a scene by its positive anchors.

    Source: Lang et al., "PointPillars", CVPR 2019, section 3; Yan et al., "SECOND", Sensors 2018; constants of the
    KITTI configs of mmdet3d 1.4. Anchor a = class * headings + heading, as there.
    """

    def __init__(
        self,
        in_channels: int,
        anchors: Sequence[Anchor],
        bounds: Sequence[float],
        shape: tuple[int, int],
        per_class: bool = True,
        centred: bool = True,
        rotations: Sequence[float] = ROTATIONS,
        score_threshold: float = 0.1,
        nms_threshold: float = 0.01,
        nms_pre: int = 100,
        max_boxes: int = 50,
    ) -> None:
        super().__init__()
        self.num_classes, self.per_class = len(anchors), per_class
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.nms_pre, self.max_boxes = nms_pre, max_boxes
        self.grid = AnchorGrid.build(anchors, bounds, shape, centred, rotations)
        kinds = self.grid.shape[0]
        self.conv_cls = nn.Conv2d(in_channels, kinds * self.num_classes, 1)
        self.conv_reg = nn.Conv2d(in_channels, kinds * 7, 1)
        self.conv_dir_cls = nn.Conv2d(in_channels, kinds * 2, 1)
        for conv in (self.conv_cls, self.conv_reg, self.conv_dir_cls):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(_bias(conv))
        nn.init.constant_(_bias(self.conv_cls), -math.log((1 - PRIOR) / PRIOR))

    def forward(self, x: Tensor) -> HeadOutput:
        # The three read the same map: one convolution over all their channels reads it once.
        convs = (self.conv_cls, self.conv_reg, self.conv_dir_cls)
        weight, bias = torch.cat([conv.weight for conv in convs]), torch.cat([_bias(conv) for conv in convs])
        maps = nn.functional.conv2d(x, weight, bias).split([conv.out_channels for conv in convs], 1)
        logits, box_map, direction = (value.unflatten(1, (self.grid.shape[0], -1)) for value in maps)
        return HeadOutput(logits, box_map, direction)

    def loss(self, output: HeadOutput, boxes: Tensor, labels: Tensor, boxes_batch: Tensor) -> dict[str, Tensor]:
        logits, box_map, direction = self._maps(output)
        grid, boxes = self._grid(logits.device), boxes[:, :7].to(logits)
        found = assign(grid, boxes, labels, boxes_batch, self.per_class)

        scene, kind, row, column = self._cell(found.positive)
        wanted = boxes[found.target]
        deltas = encode(wanted, grid.boxes(kind, row, column))
        predicted, target = sine_difference(box_map[scene, kind, :, row, column], deltas)
        turned = nn.functional.cross_entropy(
            direction[scene, kind, :, row, column], direction_of(wanted[:, 6]), reduction="sum"
        )
        count = torch.bincount(scene, minlength=logits.size(0)).clamp_(min=1).sum()
        losses = self._focal(logits, found.ignored, found.positive, labels[found.target]), smooth_l1(predicted, target)
        return {
            name: weight * loss / count
            for name, weight, loss in zip(("cls", "box", "dir"), WEIGHTS, (*losses, turned), strict=True)
        }

    def _focal(self, logits: Tensor, ignored: Tensor, positive: Tensor, labels: Tensor) -> Tensor:
        """Every score as background, then what differs: ignored anchors, and the classes of positive ones."""
        total = negative_focal(logits).sum()
        scene, kind, row, column = self._cell(ignored)
        skipped = negative_focal(logits[scene, kind, :, row, column]).sum()
        scene, kind, row, column = self._cell(positive)
        scores = logits[scene, kind, labels, row, column]
        return total - skipped + (positive_focal(scores) - negative_focal(scores)).sum()

    def predict(self, output: HeadOutput) -> list[dict[str, Tensor]]:
        logits, box_map, direction = self._maps(output)
        # The best class of each anchor decides which anchors go on, with all their classes.
        best = logits.amax(2).flatten(1)
        anchors = best.topk(min(self.nms_pre, best.size(1)), dim=1).indices
        return [self._predict_scene(*maps) for maps in zip(logits, box_map, direction, anchors)]

    def _predict_scene(self, logits: Tensor, box_map: Tensor, direction: Tensor, anchors: Tensor) -> dict[str, Tensor]:
        _, kind, row, column = self._cell(anchors)
        scores = logits[kind, :, row, column].sigmoid()
        boxes = decode(box_map[kind, :, row, column], self._grid(logits.device).boxes(kind, row, column))
        boxes[:, 6] = with_direction(boxes[:, 6], direction[kind, :, row, column].argmax(1))
        index, label = (scores > self.score_threshold).nonzero(as_tuple=True)
        return best_boxes(boxes[index], scores[index, label], label, self.nms_threshold, self.max_boxes)

    def _grid(self, device: torch.device) -> AnchorGrid:
        if self.grid.x.device != device:
            self.grid = self.grid.to(device)
        return self.grid

    def _cell(self, anchor: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scene, kind, row and column of linear ids."""
        kinds, height, width = self.grid.shape
        plane, place = anchor // (height * width), anchor % (height * width)
        return plane // kinds, plane % kinds, place // width, place % width

    @staticmethod
    def _maps(output: HeadOutput) -> tuple[Tensor, Tensor, Tensor]:
        """The three maps, at least in float32."""
        assert output.direction is not None
        dtype = accumulator(output.logits)
        return output.logits.to(dtype), output.box_map.to(dtype), output.direction.to(dtype)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
