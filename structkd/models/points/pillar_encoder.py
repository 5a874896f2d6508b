"""The pillar feature net of PointPillars."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from structkd.models.points.layers import batch_norm_1d, norm_padded_rows, norm_rows
from structkd.ops.segment import segment_max, segment_mean
from structkd.ops.voxels import Voxels


class PillarEncoder(nn.Module):
    """Points to one feature vector a pillar: decorated points -> linear -> batch norm -> ReLU -> maximum.

    Args:
        point_channels: columns of `points`: x, y, z, reflectance, ...
        out_channels: features of a pillar.
        legacy: which inputs a point has beside its other columns (reflectance, ...). True: its offset from the
            pillar's centre, from the mean of the pillar's points, and once more from the pillar's centre. False: its
            coordinates and the same two offsets, as in the paper (here z takes part in the offset from the centre).
        padding: 0, or the number of rows that a pillar is filled up to with rows of zeros, which then take part in
            batch norm and maximum.

    Shapes: points [P, C], voxels -> [V, out_channels].

    Source: Lang et al., "PointPillars", CVPR 2019, section 2.1.
    Differences: mmdet3d computes the offset from the centre in place, through a view of the coordinates, and so
    overwrites them; its published weights know no others, hence `legacy`. Its pillars are padded to 32 rows; the
    padding is invisible where the maximum is positive anyway, and `padding=32` gives its numbers without holding the
    rows.
    """

    def __init__(self, point_channels: int, out_channels: int, legacy: bool = True, padding: int = 0) -> None:
        super().__init__()
        self.legacy, self.padding = legacy, padding
        self.linear = nn.Linear(point_channels + 6, out_channels, bias=False)
        self.norm = batch_norm_1d(out_channels)

    def forward(self, points: Tensor, voxels: Voxels) -> Tensor:
        count = voxels.coords.size(0)
        x = self.linear(self.decorate(points, voxels))
        # ReLU keeps the order, so it commutes with the maximum and runs on pillars instead of points.
        if not self.padding:
            return segment_max(norm_rows(self.norm, x), voxels.voxel, count).relu()
        x, zero = norm_padded_rows(self.norm, x, count * self.padding - x.size(0))
        x = segment_max(x, voxels.voxel, count)
        return torch.where((voxels.count < self.padding)[:, None], torch.maximum(x, zero), x).relu()

    def decorate(self, points: Tensor, voxels: Voxels) -> Tensor:
        """[Q, C + 6] inputs of the points that lie in a pillar."""
        points = points[voxels.point]
        place = points[:, :3]
        mean = segment_mean(place, voxels.voxel, voxels.coords.size(0))
        from_mean = place - mean[voxels.voxel]
        from_centre = place - voxels.centers().to(place)[voxels.voxel]
        return torch.cat([from_centre if self.legacy else place, points[:, 3:], from_mean, from_centre], 1)
