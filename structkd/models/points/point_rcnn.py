"""PointRCNN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from structkd.datasets.points.scenes import Scenes
from structkd.errors import ConfigError, DataError, nearest
from structkd.models.points.anchors import kitti_anchors
from structkd.models.points.detector import Detection, Detector, Elements
from structkd.models.points.point_head import PointHead, propose
from structkd.models.points.point_sample import sample_points
from structkd.models.points.pointnet2 import PointNet2, PointSet
from structkd.models.points.roi_head import RoIHead, pool_points, sample_regions, to_frame
from structkd.models.points.targets import best_overlap, check_targets
from structkd.ops.nms import nms_rotated

#: A point's distance from the sensor is divided by this, in metres, and lowered by a half, where regions read it.
DEPTH = 70.0


@dataclass(frozen=True)
class Regions:
    """Proposals and what the second stage says of them.

    Attributes:
        boxes: [R, 7]; labels, batch: [R] class and scene of each, scene by scene.
        logits: [R] scores before the sigmoid; deltas: [R, 7] corrections.
    """

    boxes: Tensor
    labels: Tensor
    batch: Tensor
    logits: Tensor
    deltas: Tensor


class PointRCNNDetection(Detection):
    """What both stages found: `points` with their `point_logits` [N, K] and `point_codes` [N, 8], and `regions`."""

    def __init__(
        self,
        model: PointRCNN,
        num_scenes: int,
        points: Elements,
        point_logits: Tensor,
        point_codes: Tensor,
        regions: Regions,
    ) -> None:
        super().__init__(num_scenes, {"points": points}, {})
        self.model, self.point_logits, self.point_codes, self.regions = model, point_logits, point_codes, regions

    def loss(self, boxes: Tensor, labels: Tensor, boxes_batch: Tensor) -> dict[str, Tensor]:
        """`point_cls`, `point_box` (see `PointHead.loss`), `roi_cls`, `roi_box`, `roi_corner` (see `RoIHead.loss`)."""
        check_targets(boxes, labels, boxes_batch, len(self.model.classes))
        points, found = self.elements["points"], self.regions
        targets = (boxes[:, :7], labels, boxes_batch, self.num_scenes)
        losses = self.model.point_head.loss(self.point_logits, self.point_codes, points.pos, points.batch, *targets)
        iou, owner = best_overlap(found.boxes, found.labels, found.batch, *targets)
        # Where there is no box at all, no region is positive, and any row does.
        target = boxes[owner, :7].to(found.boxes.dtype) if boxes.size(0) else found.boxes
        return losses | self.model.roi_head.loss(found.logits, found.deltas, found.boxes, iou, target)

    @torch.no_grad()
    def predict(self) -> list[dict[str, Tensor]]:
        found = self.regions
        scores, boxes = found.logits.sigmoid(), self.model.roi_head.boxes(found.deltas, found.boxes)
        good = ((scores >= self.model.score_threshold) & boxes.isfinite().all(1)).nonzero().squeeze(1)
        flat = boxes[good][:, [0, 1, 3, 4, 6]]
        keep = good[nms_rotated(flat, scores[good], self.model.nms_threshold, found.batch[good])]
        rows = [keep[found.batch[keep] == scene] for scene in range(self.num_scenes)]
        return [{"boxes": boxes[row], "scores": scores[row], "labels": found.labels[row]} for row in rows]


class PointRCNN(Detector):
    """Points -> PointNet++ -> a box at every point -> regions -> boxes. All defaults are those of KITTI.

    Args:
        classes: names; a label is a place in this list.
        width: factor on all channels, rounded down: 1 / 2.8 is the "8x" student, 0.25 the "16x" one.
        point_channels: columns of `points`.
        point_range: x0, y0, z0, x1, y1, z1 in metres; points outside are left out.
        num_points: points read of a scene, or as many as there are, see `sample_points`.
        far: metres from which on points are always among them.
        level_points, radii, num_samples, sa_channels: of each set abstraction, see `PointNet2`; channels here and
            below before `width`.
        fp_channels: of each feature propagation, from the coarsest level.
        head_channels: hidden layers of both stages' scores and boxes.
        mean_sizes: class -> l, w, h in metres, over the published ones of Car, Pedestrian and Cyclist.
        proposals: boxes that enter suppression; those that leave it in training, and in evaluation.
        proposal_thresholds: overlap seen from above at which a proposal is suppressed in training, and in evaluation.
        regions_per_scene: proposals learnt from, see `sample_regions`.
        region_points, region_extra: points of a region, and metres by which it reaches further, see `pool_points`.
        region_channels, region_level_points, region_radii, region_num_samples, region_sa_channels: see `RoIHead`.
        score_threshold, nms_threshold: boxes reported have at least this score, and overlap at most this much (those
            of other classes too).

    Elements: "points", the last feature propagation's output x [N, C] at the points read, `n_id` their rows in
    `scenes.points`. No maps, no dense head.
    In training, forward reads `boxes`, `labels` and `boxes_batch` of the scenes to choose the regions, and draws them
    with torch's global generator. The second stage passes no gradient to the first.
    Parameters (three classes): 4,042,891; 517,949 at width 1 / 2.8; 259,489 at 0.25.

    Errors: `ConfigError` for a class without a mean size or a width that leaves no channel; `DataError` for points
    with other columns.

    Source: Shi et al., "PointRCNN: 3D Object Proposal Generation and Detection from Point Cloud", CVPR 2019.
    Differences: structure and losses are those of the KITTI config of mmdet3d 1.4, which codes boxes as residuals
    where the paper has bins. That config lists its mean sizes in another order than its classes, so that they belong
    to the wrong ones; here they go by name. It keeps 512 proposals in evaluation and pools regions without extra
    width; here it is the paper's 100 and 1 metre. Scenes keep their own number of points; none is repeated.
    """

    def __init__(
        self,
        classes: Sequence[str] = ("Car", "Pedestrian", "Cyclist"),
        width: float = 1.0,
        point_channels: int = 4,
        point_range: Sequence[float] = (0, -40, -3, 70.4, 40, 1),
        num_points: int = 16384,
        far: float = 40.0,
        level_points: Sequence[int] = (4096, 1024, 256, 64),
        radii: Sequence[Sequence[float]] = ((0.1, 0.5), (0.5, 1.0), (1.0, 2.0), (2.0, 4.0)),
        num_samples: Sequence[Sequence[int]] = ((16, 32), (16, 32), (16, 32), (16, 32)),
        sa_channels: Sequence[Sequence[Sequence[int]]] = (
            ((16, 16, 32), (32, 32, 64)),
            ((64, 64, 128), (64, 96, 128)),
            ((128, 196, 256), (128, 196, 256)),
            ((256, 256, 512), (256, 384, 512)),
        ),
        fp_channels: Sequence[Sequence[int]] = ((512, 512), (512, 512), (256, 256), (128, 128)),
        head_channels: Sequence[int] = (256, 256),
        mean_sizes: Mapping[str, Sequence[float]] | None = None,
        proposals: tuple[int, int, int] = (9000, 512, 100),
        proposal_thresholds: tuple[float, float] = (0.8, 0.85),
        regions_per_scene: int = 128,
        region_points: int = 512,
        region_extra: float = 1.0,
        region_channels: Sequence[int] = (128, 128),
        region_level_points: Sequence[int] = (128, 32),
        region_radii: Sequence[float] = (0.2, 0.4),
        region_num_samples: Sequence[int] = (16, 16),
        region_sa_channels: Sequence[Sequence[int]] = ((128, 128, 128), (128, 128, 256), (256, 256, 512)),
        score_threshold: float = 0.1,
        nms_threshold: float = 0.1,
    ) -> None:
        super().__init__()
        self.classes, self.point_channels = tuple(classes), point_channels
        self.point_range, self.num_points, self.far = tuple(point_range), num_points, far
        self.proposals, self.proposal_thresholds = proposals, proposal_thresholds
        self.regions_per_scene, self.region_points, self.region_extra = regions_per_scene, region_points, region_extra
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        sa = [[_floored(layers, width) for layers in level] for level in sa_channels]
        fp = [_floored(layers, width) for layers in fp_channels]
        hidden = _floored(head_channels, width)
        self.backbone = PointNet2(point_channels - 3, level_points, radii, num_samples, sa, fp)
        channels = self.backbone.out_channels
        self.point_head = PointHead(channels, _sizes_of(self.classes, mean_sizes), hidden)
        self.roi_head = RoIHead(
            channels,
            _floored(region_channels, width),
            region_level_points,
            region_radii,
            region_num_samples,
            [_floored(layers, width) for layers in region_sa_channels],
            hidden,
        )

    def forward(self, scenes: Scenes) -> PointRCNNDetection:
        if scenes.points.size(1) != self.point_channels:
            raise DataError(f"Points have {scenes.points.size(1)} columns; point_channels is {self.point_channels}.")
        count = scenes.num_scenes
        rows = sample_points(scenes.points, scenes.batch, count, self.num_points, self.point_range, self.far)
        pos, batch = scenes.points[rows, :3], scenes.batch[rows]
        x = self.backbone(PointSet(pos, scenes.points[rows, 3:], batch))
        logits, codes = self.point_head(x)
        boxes, labels, rois_batch = self._proposals(logits.detach(), codes.detach(), pos, batch, scenes)
        place, features = self._region_points(boxes, rois_batch, pos, batch, x, logits, count)
        regions = Regions(boxes, labels, rois_batch, *self.roi_head(place, features))
        return PointRCNNDetection(self, count, Elements(x, pos, batch, rows), logits, codes, regions)

    @torch.no_grad()
    def _proposals(
        self, logits: Tensor, codes: Tensor, pos: Tensor, batch: Tensor, scenes: Scenes
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes [R, 7], labels [R] and scenes [R] of the regions."""
        scores, labels = logits.max(1)
        boxes = self.point_head.boxes(logits, codes, pos)
        before, *after = self.proposals
        kind = 0 if self.training else 1
        threshold = self.proposal_thresholds[kind]
        keep = propose(boxes, scores, batch, scenes.num_scenes, before, after[kind], threshold)
        if self.training:
            targets = (scenes.boxes[:, :7], scenes.labels, scenes.boxes_batch, scenes.num_scenes)
            iou, _ = best_overlap(boxes[keep], labels[keep], batch[keep], *targets)
            keep = keep[sample_regions(iou, batch[keep], scenes.num_scenes, self.regions_per_scene)]
        return boxes[keep], labels[keep], batch[keep]

    @torch.no_grad()
    def _region_points(
        self, rois: Tensor, rois_batch: Tensor, pos: Tensor, batch: Tensor, x: Tensor, logits: Tensor, num_scenes: int
    ) -> tuple[Tensor, Tensor]:
        """What the second stage reads: places [R, n, 5] and features [R, n, C]; zeros for a region without points."""
        index, found = pool_points(pos, batch, rois, rois_batch, num_scenes, self.region_points, self.region_extra)
        if pos.size(0) == 0:
            return x.new_zeros(0, self.region_points, 5), x.new_zeros(0, self.region_points, x.size(1))
        score, depth = logits.amax(1).sigmoid(), pos.norm(dim=1) / DEPTH - 0.5
        place = torch.cat([to_frame(pos[index], rois), score[index].unsqueeze(2), depth[index].unsqueeze(2)], 2)
        known = found[:, None, None]
        return place * known, x[index] * known


def _floored(channels: Sequence[int], width: float) -> list[int]:
    """Channels times `width`, rounded down as in the published students: 128 / 2.8 is 45."""
    # The small addition is for widths such as 1 / 2.8, of which rounding may have taken the last bit: 196 gives 70.
    scaled = [int(count * width + 1e-6) for count in channels]
    if min(scaled) < 1:
        raise ConfigError(f"width={width} leaves no channel of {min(channels)}.")
    return scaled


def _sizes_of(classes: Sequence[str], given: Mapping[str, Sequence[float]] | None) -> list[Sequence[float]]:
    known = {name: anchor.size for name, anchor in kitti_anchors(0.5, 0.35).items()} | dict(given or {})
    for name in classes:
        if name not in known or len(known[name]) != 3 or min(known[name]) <= 0:
            raise ConfigError(f"mean_sizes needs three sizes above 0 for class '{name}'. {nearest(name, known)}")
    return [known[name] for name in classes]
