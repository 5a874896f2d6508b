"""The head of CenterPoint: objects as peaks of a heat map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structkd.errors import DataError
from structkd.models.points.dense import Head, HeadOutput
from structkd.models.points.gaussian import MIN_RADIUS, draw_gaussians, gaussian_radius
from structkd.models.points.layers import conv_norm_relu
from structkd.models.points.losses import gaussian_focal
from structkd.models.points.suppression import best_boxes
from structkd.ops.precision import accumulator

#: Bias of the heat map: every cell starts with a score of about 0.1.
BIAS = -2.19
#: Weight of the box loss, and of velocities within it.
BOX_WEIGHT, VELOCITY_WEIGHT = 0.25, 0.2
#: Columns of the encoded box: place within the cell (x, y), height of the centre, ln of sizes, sin and cos of yaw.
PARTS = {"reg": 2, "height": 1, "dim": 3, "rot": 2}


class CenterHead(Head):
    """A heat map a class and one box a cell.

    A shared 3 x 3 convolution, then for the heat map and for each part of the box two 3 x 3 convolutions.

    Args:
        in_channels: C of the map it reads.
        num_classes: K, all in one group.
        bounds: x0, y0, x1, y1 in metres that the map covers.
        shape: H, W of the map.
        channels: between the convolutions.
        velocity: also learn vx, vy, columns 8 and 9 of the boxes; NaN there is left out.
        score_threshold: peaks below this are not reported.
        nms_threshold: highest overlap of two reported boxes of a class, seen from above.
        nms_pre: peaks of a scene that go into the suppression.
        max_boxes: boxes reported of a scene.

    Output: `logits` [B, 1, K, H, W]; `box_map` [B, 1, 8 or 10, H, W]: offset of the centre within its cell (0 to 1, x
    then y), height of the box's centre in metres, logarithms of l, w, h, sine and cosine of the yaw[, vx, vy].

    Losses: `heatmap`, penalty-reduced focal loss over the number of peaks; `box`, L1 over the number of objects on
    the map, weight 0.25, velocities 0.2 of that. Both numbers are of the batch and at least 1.

    Source: Yin et al., "Center-based 3D Object Detection and Tracking", CVPR 2021; constants of the nuScenes configs
    of mmdet3d 1.4.
    Differences: one group of classes instead of six, and of each 3 x 3 neighbourhood only the highest score of a class
    is a peak before the suppression.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        bounds: Sequence[float],
        shape: tuple[int, int],
        channels: int = 64,
        velocity: bool = False,
        score_threshold: float = 0.1,
        nms_threshold: float = 0.2,
        nms_pre: int = 500,
        max_boxes: int = 500,
    ) -> None:
        super().__init__()
        self.num_classes, self.shape, self.velocity = num_classes, shape, velocity
        x0, y0, x1, y1 = bounds
        self.origin, self.cell = (x0, y0), ((x1 - x0) / shape[1], (y1 - y0) / shape[0])
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.nms_pre, self.max_boxes = nms_pre, max_boxes
        self.shared = nn.Sequential(*conv_norm_relu(in_channels, channels))
        parts = {"heatmap": num_classes, **PARTS, **({"vel": 2} if velocity else {})}
        self.branches = nn.ModuleDict(
            {
                name: nn.Sequential(*conv_norm_relu(channels, channels), nn.Conv2d(channels, columns, 3, padding=1))
                for name, columns in parts.items()
            }
        )
        nn.init.constant_(self.branches["heatmap"][-1].bias, BIAS)  # type: ignore[index]

    def forward(self, x: Tensor) -> HeadOutput:
        x = self.shared(x)
        heat, *boxes = (branch(x) for branch in self.branches.values())
        return HeadOutput(heat[:, None], torch.cat(boxes, 1)[:, None])

    def loss(self, output: HeadOutput, boxes: Tensor, labels: Tensor, boxes_batch: Tensor) -> dict[str, Tensor]:
        if self.velocity and boxes.size(1) < 9:
            raise DataError(f"velocity=True needs boxes of 9 columns (vx, vy last), got {boxes.size(1)}.")
        logits, box_map = self._maps(output)
        boxes = boxes.to(logits)
        place, size = self._place(boxes), boxes.new_tensor(self.cell)
        column, row = place.floor().long().unbind(1)
        inside = (row >= 0) & (row < self.shape[0]) & (column >= 0) & (column < self.shape[1])
        inside &= (boxes[:, 3:5] > 0).all(1)
        boxes, place, label, scene = boxes[inside], place[inside], labels[inside], boxes_batch[inside]
        row, column = row[inside], column[inside]
        length, width = (boxes[:, 3:5] / size).unbind(1)
        radius = gaussian_radius(length, width).long().clamp(min=MIN_RADIUS)
        heat = draw_gaussians(logits.size(0), self.num_classes, self.shape, scene, label, row, column, radius)

        target = self._encode(boxes, place)
        predicted = box_map[scene, :, row, column]
        known = ~target.isnan()
        error = (predicted - torch.where(known, target, 0)).abs() * known
        error = torch.cat([error[:, :8], VELOCITY_WEIGHT * error[:, 8:]], 1)
        return {
            "heatmap": gaussian_focal(logits, heat) / (heat == 1).sum().clamp(min=1),
            "box": BOX_WEIGHT * error.sum() / max(boxes.size(0), 1),
        }

    def predict(self, output: HeadOutput) -> list[dict[str, Tensor]]:
        logits, box_map = self._maps(output)
        scores = logits.sigmoid()
        scores = scores * (F.max_pool2d(scores, 3, stride=1, padding=1) == scores)
        top, index = scores.flatten(1).topk(min(self.nms_pre, scores[0].numel()), dim=1)
        return [self._predict_scene(*maps) for maps in zip(box_map, top, index)]

    def _predict_scene(self, box_map: Tensor, scores: Tensor, index: Tensor) -> dict[str, Tensor]:
        above = scores > self.score_threshold
        scores, index = scores[above], index[above]
        height, width = self.shape
        label, place = index // (height * width), index % (height * width)
        row, column = place // width, place % width
        boxes = self._decode(box_map[:, row, column].T, row, column)
        return best_boxes(boxes, scores, label, self.nms_threshold, self.max_boxes)

    @staticmethod
    def _maps(output: HeadOutput) -> tuple[Tensor, Tensor]:
        """Scores [B, K, H, W] and boxes [B, D, H, W], at least in float32."""
        dtype = accumulator(output.logits)
        return output.logits[:, 0].to(dtype), output.box_map[:, 0].to(dtype)

    def _place(self, boxes: Tensor) -> Tensor:
        """[M, 2] centres in cells, x then y."""
        return (boxes[:, :2] - boxes.new_tensor(self.origin)) / boxes.new_tensor(self.cell)

    def _encode(self, boxes: Tensor, place: Tensor) -> Tensor:
        centre, yaw = boxes[:, 2:3] + boxes[:, 5:6] / 2, boxes[:, 6:7]
        velocity = [boxes[:, 7:9]] if self.velocity else []
        return torch.cat([place - place.floor(), centre, boxes[:, 3:6].log(), yaw.sin(), yaw.cos(), *velocity], 1)

    def _decode(self, encoded: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """[n, 7 or 9] boxes of cells; the inverse of `_encode`."""
        cell = torch.stack([column, row], 1) + encoded[:, :2]
        place = cell * cell.new_tensor(self.cell) + cell.new_tensor(self.origin)
        sizes = encoded[:, 3:6].exp()
        bottom = encoded[:, 2:3] - sizes[:, 2:] / 2
        return torch.cat([place, bottom, sizes, torch.atan2(encoded[:, 6:7], encoded[:, 7:8]), encoded[:, 8:]], 1)
