"""PointPillars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from structkd.datasets.points.scenes import Scenes
from structkd.errors import ConfigError
from structkd.models.points.anchors import Anchor, kitti_anchors
from structkd.models.points.dense import DenseDetector
from structkd.models.points.detector import Elements
from structkd.models.points.heads import head_maker
from structkd.models.points.layers import scaled
from structkd.models.points.pillar_encoder import PillarEncoder
from structkd.models.points.voxelizer import Voxelizer
from structkd.ops.pillar_scatter import scatter_to_grid
from structkd.ops.voxels import grid_of

#: Points of a pillar, and pillars of a scene in training and in evaluation, under hard voxelisation.
MAX_POINTS, MAX_VOXELS = 32, (16000, 40000)


class PointPillars(DenseDetector):
    """Pillars of points -> a map seen from above -> 2D network -> boxes. All defaults are those of KITTI.

    Args:
        classes: names; a label is a place in this list.
        width: factor on all channels, the head's in-channels included: 0.5 is the "4x" student, 0.25 the "16x" one.
        point_channels: columns of `points`.
        point_range: x0, y0, z0, x1, y1, z1 in metres; points outside are left out.
        voxel_size: dx, dy, dz of a pillar; dz is the height of the range.
        pillar_channels: features of a pillar, before `width` as all channels below.
        layer_nums, strides, channels: of the 2D network's blocks, see `Backbone`.
        neck_strides, neck_channels: see `Neck`.
        voxelization: "dynamic", all points of all pillars; "hard", at most `max_points` of a pillar and `max_voxels`
            (in training, in evaluation) pillars of a scene, padded: to run OpenMMLab's weights as OpenMMLab does.
        max_points, max_voxels: caps, for "hard".
        legacy: inputs of the pillar net as in OpenMMLab's weights, see `PillarEncoder`.
        head: "anchor" (`AnchorHead`) or "center" (`CenterHead`).
        anchors: class -> `Anchor` or its fields `size`, `z`, `positive`, `negative`, over the published ones of Car,
            Pedestrian and Cyclist; other classes need one.
        head_options: further arguments of the head, such as `dict(score_threshold=0.3)`.

    Elements: "pillars", the features x [V, C] of the pillars, `importance` the points in each.
    Maps: "canvas", "backbone_0", ... (one a block), "neck".
    Parameters (three classes): 4,834,888; 1,217,352 at width 0.5; 308,680 at 0.25.

    Errors: `ConfigError` for grids that the strides do not divide; `DataError` for points with other columns.

    Source: Lang et al., "PointPillars: Fast Encoders for Object Detection from Point Clouds", CVPR 2019.
    Differences: structure, channels, anchors and losses are those of the KITTI config of mmdet3d 1.4, which has a
    64-channel first block where the paper has a stride of 1 for cars; voxelisation is dynamic by default (nothing is
    dropped and no order matters), so weights trained with caps see pillars with more than 32 points.
    """

    def __init__(
        self,
        classes: Sequence[str] = ("Car", "Pedestrian", "Cyclist"),
        width: float = 1.0,
        point_channels: int = 4,
        point_range: Sequence[float] = (0, -39.68, -3, 69.12, 39.68, 1),
        voxel_size: Sequence[float] = (0.16, 0.16, 4),
        pillar_channels: int = 64,
        layer_nums: Sequence[int] = (3, 5, 5),
        strides: Sequence[int] = (2, 2, 2),
        channels: Sequence[int] = (64, 128, 256),
        neck_strides: Sequence[float] = (1, 2, 4),
        neck_channels: Sequence[int] = (128, 128, 128),
        voxelization: str = "dynamic",
        max_points: int = MAX_POINTS,
        max_voxels: Sequence[int] = MAX_VOXELS,
        legacy: bool = True,
        head: str = "anchor",
        anchors: Mapping[str, Anchor | Mapping[str, Any]] | None = None,
        head_options: Mapping[str, Any] | None = None,
    ) -> None:
        grid = grid_of(point_range, voxel_size)
        if grid[0] != 1:
            raise ConfigError(
                f"A pillar has the height of the range: voxel_size {tuple(voxel_size)} gives {grid[0]} of them one "
                f"above the other within z = {point_range[2]} to {point_range[5]}."
            )
        pillar_channels = scaled(pillar_channels, width)
        published = {"per_class": True, "centred": True}
        make_head = head_maker(head, classes, anchors, kitti_anchors(0.5, 0.35), published, width, head_options)
        super().__init__(
            classes,
            pillar_channels,
            grid[1:],
            point_range,
            layer_nums,
            strides,
            channels,
            neck_strides,
            neck_channels,
            width,
            make_head,
        )
        self.grid = grid
        self.voxelizer = Voxelizer(voxelization, point_channels, point_range, voxel_size, max_points, max_voxels)
        padding = max_points if voxelization == "hard" else 0
        self.voxel_encoder = PillarEncoder(point_channels, pillar_channels, legacy, padding)

    def canvas_of(self, scenes: Scenes) -> tuple[Tensor, dict[str, Elements]]:
        voxels = self.voxelizer(scenes, self.training)
        x = self.voxel_encoder(scenes.points, voxels)
        pillars = Elements(x, voxels.centers(), voxels.coords[:, 0], voxels.id, voxels.count.float())
        return scatter_to_grid(x, voxels.coords, scenes.num_scenes, self.grid), {"pillars": pillars}
