"""Second stage of PointRCNN: the points in and around a region say how good it is and correct it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structkd.datasets.points.boxes import CORNERS
from structkd.models.points.box_coder import decode, encode
from structkd.models.points.losses import smooth_l1
from structkd.models.points.pointnet2 import GlobalAbstraction, PointMLP, PointSet, SetAbstraction
from structkd.ops.points_in_boxes import points_in_boxes
from structkd.ops.ragged import table_places

#: A region is an object from the first overlap on, none below the second, and in between by degrees.
SURE, NOT = 0.7, 0.25
#: Overlap from which on a region learns where its object is.
POSITIVE = 0.55
#: Columns of a point in a region beside its features: x, y, z in the region's frame, score, depth.
PLACE = 5


@torch.no_grad()
def pool_points(
    pos: Tensor, batch: Tensor, rois: Tensor, rois_batch: Tensor, num_scenes: int, count: int, extra: float
) -> tuple[Tensor, Tensor]:
    """The points in each region.

    Args:
        pos, batch: [N, 3], [N] points and their scenes.
        rois, rois_batch: [R, 7], [R] regions and their scenes.
        num_scenes: B.
        count: points a region gets: the first of those in it, over again where there are fewer.
        extra: metres by which a region reaches further on every side.

    Returns:
        [R, count] rows of `pos` (any, for a region without points) and [R] bool, whether a region has points.
    """
    wider = torch.cat([rois[:, :2], rois[:, 2:3] - extra, rois[:, 3:6] + 2 * extra, rois[:, 6:7]], 1)
    index = torch.zeros(rois.size(0), count, dtype=torch.int64, device=pos.device)
    found = torch.zeros(rois.size(0), dtype=torch.bool, device=pos.device)
    for scene in range(num_scenes):
        mine, rows = (rois_batch == scene).nonzero().squeeze(1), (batch == scene).nonzero().squeeze(1)
        inside = points_in_boxes(pos[rows], wider[mine]).t()
        number = inside.sum(1)
        some = number > 0
        index[mine[some]] = rows[inside.nonzero()[:, 1]][table_places(number, count, cyclic=True)[some]]
        found[mine] = some
    return index, found


def to_frame(pos: Tensor, rois: Tensor) -> Tensor:
    """Positions [R, n, 3] in the frames of regions [R, 7]: origin at the bottom's centre, x along the heading."""
    return _turn(pos - rois[:, None, :3], -rois[:, 6:7])


def from_frame(boxes: Tensor, rois: Tensor) -> Tensor:
    """Boxes [R, 7] given in the frames of regions [R, 7], one each, in the LiDAR frame."""
    centre = _turn(boxes[:, None, :3], rois[:, 6:7])[:, 0] + rois[:, :3]
    return torch.cat([centre, boxes[:, 3:6], boxes[:, 6:7] + rois[:, 6:7]], 1)


def _turn(pos: Tensor, yaw: Tensor) -> Tensor:
    x, y, z = pos.unbind(-1)
    cos, sin = yaw.cos(), yaw.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos, z], -1)


def corners(boxes: Tensor) -> Tensor:
    """[N, 8, 3] corners of boxes [N, 7], in the order of `structkd.datasets.points.boxes.CORNERS`."""
    own = boxes.new_tensor(CORNERS) * boxes[:, None, 3:6]
    return _turn(own, boxes[:, 6:7]) + boxes[:, None, :3]


def corner_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """[N] mean Huber loss of the distances between corners, each to the target's or to those of its half turn.

    Source: Qi et al., "Frustum PointNets", CVPR 2018, equation 2. Differences: as mmdet3d and OpenPCDet, the smaller
    of the two distances is taken corner by corner, where the paper takes it for the box.
    """
    half_turn = torch.cat([target[:, :6], target[:, 6:7] + math.pi], 1)
    own = corners(predicted)
    distance = torch.minimum((own - corners(target)).norm(dim=2), (own - corners(half_turn)).norm(dim=2))
    return F.huber_loss(distance, torch.zeros_like(distance), reduction="none").mean(1)


class RoIHead(nn.Module):
    """A score and a correction for every region.

    Args:
        in_channels: features of a point.
        channels: of the layers that lift the `PLACE` columns of a point to features.
        num_points, radii, num_samples, sa_channels: of the set abstractions; `sa_channels` has one entry more, for the
            last, over all points that are left.
        hidden: layers before the score and before the correction.

    Source: Shi et al., "PointRCNN", CVPR 2019, sections 3.3 and 3.4; layers of mmdet3d 1.4.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        num_points: Sequence[int],
        radii: Sequence[float],
        num_samples: Sequence[int],
        sa_channels: Sequence[Sequence[int]],
        hidden: Sequence[int],
    ) -> None:
        super().__init__()
        self.lift = PointMLP((PLACE, *channels), eps=None, bias=True)
        self.merge = PointMLP((channels[-1] + in_channels, channels[-1]), eps=None, bias=True)
        self.down = nn.ModuleList()
        width = channels[-1]
        *local, last = sa_channels
        for count, radius, samples, layers in zip(num_points, radii, num_samples, local, strict=True):
            self.down.append(SetAbstraction(width, count, (radius,), (samples,), (layers,)))
            width = layers[-1]
        self.globally = GlobalAbstraction(width, last)
        self.cls_layers, self.box_layers = (PointMLP((last[-1], *hidden)) for _ in range(2))
        self.cls, self.box = nn.Linear(hidden[-1], 1), nn.Linear(hidden[-1], 7)
        nn.init.normal_(self.box.weight, std=0.001)
        nn.init.zeros_(self.box.bias)

    def forward(self, place: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores before the sigmoid [R] and corrections [R, 7] from points [R, n, PLACE] with features [R, n, C]."""
        regions, count, _ = place.shape
        rows = self.merge(torch.cat([self.lift(place.flatten(0, 1)), x.flatten(0, 1)], 1))
        batch = torch.arange(regions, device=x.device).repeat_interleave(count)
        points = PointSet(place[..., :3].flatten(0, 1), rows, batch)
        for down in self.down:
            points = down(points)
        found = self.globally(points, regions)
        return self.cls(self.cls_layers(found)).squeeze(1).float(), self.box(self.box_layers(found)).float()

    @staticmethod
    def boxes(deltas: Tensor, rois: Tensor) -> Tensor:
        """Corrected regions [R, 7]."""
        return from_frame(decode(deltas, _standing(rois)), rois)

    @staticmethod
    def loss(logits: Tensor, deltas: Tensor, rois: Tensor, iou: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Losses of regions [R, 7] whose best box `target` [R, 7] overlaps them by `iou` [R].

        Returns:
            `roi_cls`, cross entropy with the overlap (0 at `NOT`, 1 at `SURE`), a mean over all regions; `roi_box`,
            smooth L1 of the corrections, and `roi_corner`, means over the regions of `POSITIVE` overlap.
        """
        quality = ((iou - NOT) / (SURE - NOT)).clamp(0, 1)
        score = F.binary_cross_entropy_with_logits(logits, quality, reduction="sum") / max(logits.numel(), 1)
        positive = iou >= POSITIVE
        count = max(int(positive.sum()), 1)
        rois, deltas, target = rois[positive], deltas[positive], target[positive]
        local = torch.cat([to_frame(target[:, None, :3], rois)[:, 0], target[:, 3:6], target[:, 6:7] - rois[:, 6:7]], 1)
        # An object and its half turn are one to this stage; the heading's correction is below a quarter.
        local[:, 6] = torch.remainder(local[:, 6] + math.pi / 2, math.pi) - math.pi / 2
        return {
            "roi_cls": score,
            "roi_box": smooth_l1(deltas, encode(local, _standing(rois))) / count,
            "roi_corner": corner_loss(RoIHead.boxes(deltas, rois), target).sum() / count,
        }


def _standing(rois: Tensor) -> Tensor:
    """Regions [R, 7] in their own frames."""
    return torch.cat([torch.zeros_like(rois[:, :3]), rois[:, 3:6], torch.zeros_like(rois[:, 6:7])], 1)


@torch.no_grad()
def sample_regions(iou: Tensor, batch: Tensor, num_scenes: int, count: int) -> Tensor:
    """Rows [R'] of regions to learn from: in each scene `count` at most, up to half of them objects.

    Of the others 80 % (rounded up) are those that overlap an object by 0.1 or more, as far as there are, then those
    that do not, then whatever is left.

    Args:
        iou: [R] overlap of each region with its best box.
        batch: [R] scene.
        num_scenes: B.
        count: 128 in the usual config.

    Source: mmdet3d 1.4, `IoUNegPiecewiseSampler`. Differences: no region is taken twice to fill a scene up.
    """
    chosen = [torch.empty(0, dtype=torch.int64, device=iou.device)]
    for scene in range(num_scenes):
        rows = (batch == scene).nonzero().squeeze(1)
        rows = rows[torch.randperm(rows.numel()).to(rows.device)]
        overlap = iou[rows]
        positive = rows[overlap >= POSITIVE][: count // 2]
        room = count - positive.numel()
        near, clear = rows[(overlap < POSITIVE) & (overlap >= 0.1)], rows[overlap < 0.1]
        hard = math.ceil(0.8 * room)
        others = torch.cat([near[:hard], clear, near[hard:]])[:room]
        chosen.append(torch.cat([positive, others]))
    return torch.cat(chosen)
