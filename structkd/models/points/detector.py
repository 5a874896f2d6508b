"""What all detectors take and give."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from structkd.datasets.points.scenes import Scenes


@dataclass
class Elements:
    """A sparse set inside a detector: pillars, voxels or points.

    Attributes:
        x: [N, C] features.
        pos: [N, 3] x, y, z in metres (LiDAR frame): the centre of a cell, or the point.
        batch: [N] int64 ascending: scene of each element.
        n_id: [N] int64 id of the cell or point; equal in two detectors that share a grid, or the points.
        importance: [N] float points in the cell; `None` for points.
    """

    x: Tensor
    pos: Tensor
    batch: Tensor
    n_id: Tensor
    importance: Tensor | None = None


class Detection:
    """What one forward pass of a detector found; adapters read it. It holds no parameters of its own.

    Attributes:
        num_scenes: B.
        elements: sparse sets at the places papers distil: "pillars", "voxels", "points".
        maps: dense maps [B, C, H, W]: "canvas" (scattered pillars, flattened voxels), "backbone_0", ..., "neck".
        logits: class scores before the sigmoid [B, A, K, H, W] (A anchors or 1 a cell, K classes); `None` where
            there is no dense head.
        box_map: encoded boxes [B, A, 7, H, W] (8 or 10 columns behind a `CenterHead`, see there); `None` with `logits`.
        bounds: x0, y0, x1, y1 in metres, what all maps and `logits` cover: row 0 starts at y0, column 0 at x0.
    """

    def __init__(
        self,
        num_scenes: int,
        elements: dict[str, Elements],
        maps: dict[str, Tensor],
        logits: Tensor | None = None,
        box_map: Tensor | None = None,
        bounds: tuple[float, float, float, float] | None = None,
    ) -> None:
        self.num_scenes, self.elements, self.maps = num_scenes, elements, maps
        self.logits, self.box_map, self.bounds = logits, box_map, bounds

    def loss(self, boxes: Tensor, labels: Tensor, boxes_batch: Tensor) -> dict[str, Tensor]:
        """The detector's own losses, weighted as published.

        Args:
            boxes: [M, 7 or 9] LiDAR boxes x, y, z of the bottom face's centre, l, w, h, yaw[, vx, vy].
            labels: [M] int64 class of each.
            boxes_batch: [M] int64 scene of each.

        Returns:
            Scalars by name, to be summed.
        """
        raise NotImplementedError

    def predict(self) -> list[dict[str, Tensor]]:
        """One dict a scene: `boxes` [n, 7 or 9], `scores` [n] from 0 to 1, descending, `labels` [n] int64."""
        raise NotImplementedError


class Detector(nn.Module):
    """A network that finds boxes in LiDAR frames; called with `Scenes`, gives a `Detection`."""

    def forward(self, scenes: Scenes) -> Detection:
        raise NotImplementedError
