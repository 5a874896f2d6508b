"""First stage of PointRCNN: every point says what it belongs to and where that ends."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from structkd.models.points.losses import negative_focal, positive_focal, smooth_l1
from structkd.models.points.pointnet2 import PointMLP
from structkd.models.points.targets import owners
from structkd.ops.nms import nms_rotated

#: Points within this distance of an object, in metres, learn neither that they belong to it nor that they do not.
MARGIN = 0.1
#: Boxes that suppress each other at once; what is kept of them joins the next.
BLOCK = 1024


def encode_at_points(boxes: Tensor, pos: Tensor, sizes: Tensor) -> Tensor:
    r"""Boxes as seen from points inside them, [N, 8].

    :math:`(x - p_x) / d, (y - p_y) / d, (z^c - p_z) / \bar h, \ln(l / \bar l), \ln(w / \bar w), \ln(h / \bar h),
    \cos \theta, \sin \theta` with :math:`d = \sqrt{\bar l^2 + \bar w^2}` and :math:`z^c` the centre of the box.

    Args:
        boxes: [N, 7] LiDAR boxes (z is the bottom).
        pos: [N, 3] points.
        sizes: [N, 3] mean l, w, h of the box's class.
    """
    x, y, z, l, w, h, yaw = boxes[:, :7].unbind(1)  # noqa: E741
    mean_l, mean_w, mean_h = sizes.unbind(1)
    diagonal = torch.hypot(mean_l, mean_w)
    centre = [(x - pos[:, 0]) / diagonal, (y - pos[:, 1]) / diagonal, (z + h / 2 - pos[:, 2]) / mean_h]
    extent = [(l / mean_l).log(), (w / mean_w).log(), (h / mean_h).log()]
    return torch.stack([*centre, *extent, yaw.cos(), yaw.sin()], 1)


def decode_at_points(codes: Tensor, pos: Tensor, sizes: Tensor) -> Tensor:
    """Boxes [N, 7] from codes [N, 8]; the inverse of `encode_at_points`."""
    dx, dy, dz, dl, dw, dh, cos, sin = codes.unbind(1)
    mean_l, mean_w, mean_h = sizes.unbind(1)
    diagonal = torch.hypot(mean_l, mean_w)
    h = dh.exp() * mean_h
    z = dz * mean_h + pos[:, 2] - h / 2
    yaw = torch.atan2(sin, cos)
    return torch.stack(
        [dx * diagonal + pos[:, 0], dy * diagonal + pos[:, 1], z, dl.exp() * mean_l, dw.exp() * mean_w, h, yaw], 1
    )


class PointHead(nn.Module):
    """Class scores and a box for every point.

    Args:
        in_channels: C of the points.
        mean_sizes: l, w, h of each class in metres.
        channels: hidden layers, of the scores and of the boxes each.

    Source: Shi et al., "PointRCNN", CVPR 2019, section 3.2, in the form of mmdet3d 1.4: boxes are residuals from the
    class's mean size and the heading is a cosine and a sine, where the paper has bins.
    """

    mean_sizes: Tensor

    def __init__(self, in_channels: int, mean_sizes: Sequence[Sequence[float]], channels: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("mean_sizes", torch.tensor(mean_sizes, dtype=torch.float32), persistent=False)
        self.cls_layers, self.box_layers = (PointMLP((in_channels, *channels)) for _ in range(2))
        self.cls, self.box = nn.Linear(channels[-1], len(mean_sizes)), nn.Linear(channels[-1], 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores before the sigmoid [N, K] and codes [N, 8] of points [N, C]."""
        return self.cls(self.cls_layers(x)).float(), self.box(self.box_layers(x)).float()

    def boxes(self, logits: Tensor, codes: Tensor, pos: Tensor) -> Tensor:
        """[N, 7] the box of every point, of the class with the highest score."""
        return decode_at_points(codes, pos, self.mean_sizes[logits.argmax(1)])

    def loss(
        self,
        logits: Tensor,
        codes: Tensor,
        pos: Tensor,
        batch: Tensor,
        boxes: Tensor,
        labels: Tensor,
        boxes_batch: Tensor,
        num_scenes: int,
    ) -> dict[str, Tensor]:
        """`point_cls` (focal) and `point_box` (smooth L1 of the codes), both over the number of points in objects."""
        boxes = boxes[:, :7].to(pos.dtype)
        owner = owners(pos, batch, boxes, boxes_batch, num_scenes)
        wider = torch.cat([boxes[:, :2], boxes[:, 2:3] - MARGIN, boxes[:, 3:6] + 2 * MARGIN, boxes[:, 6:]], 1)
        outside = owners(pos, batch, wider, boxes_batch, num_scenes) < 0
        positive = (owner >= 0).nonzero().squeeze(1)
        box = owner[positive]
        count = max(positive.numel(), 1)
        mine = logits[positive]
        own = mine.gather(1, labels[box].unsqueeze(1))
        background = negative_focal(logits[outside]).sum() + negative_focal(mine).sum() - negative_focal(own).sum()
        target = encode_at_points(boxes[box], pos[positive], self.mean_sizes[labels[box]])
        return {
            "point_cls": (background + positive_focal(own).sum()) / count,
            "point_box": smooth_l1(codes[positive], target) / count,
        }


@torch.no_grad()
def propose(
    boxes: Tensor, scores: Tensor, batch: Tensor, num_scenes: int, before: int, after: int, threshold: float
) -> Tensor:
    """Rows [R] of the boxes that suppression leaves, scene by scene, the best first.

    Args:
        boxes: [N, 7]; those that are not finite are dropped.
        scores: [N].
        batch: [N] scene.
        num_scenes: B.
        before, after: boxes of a scene that enter suppression, and that leave it, at most.
        threshold: overlap seen from above.
    """
    flat = boxes[:, [0, 1, 3, 4, 6]]
    finite = boxes.isfinite().all(1)
    chosen = [torch.empty(0, dtype=torch.int64, device=boxes.device)]
    for scene in range(num_scenes):
        rows = ((batch == scene) & finite).nonzero().squeeze(1)
        rows = rows[scores[rows].argsort(descending=True, stable=True)][:before]
        kept = rows[:0]
        # Block by block, which is the same, and over as soon as there are enough.
        for block in rows.split(BLOCK):
            kept = torch.cat([kept, block])
            kept = kept[nms_rotated(flat[kept], scores[kept], threshold)]
            if kept.numel() >= after:
                break
        chosen.append(kept[:after])
    return torch.cat(chosen)
