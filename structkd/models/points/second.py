"""SECOND."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from structkd.datasets.points.scenes import Scenes
from structkd.models.points.anchors import Anchor, kitti_anchors
from structkd.models.points.dense import DenseDetector
from structkd.models.points.detector import Elements
from structkd.models.points.heads import head_maker
from structkd.models.points.layers import scaled
from structkd.models.points.second_encoder import SparseEncoder
from structkd.models.points.sparse import SparseTensor
from structkd.models.points.voxelizer import Voxelizer
from structkd.ops.segment import segment_mean
from structkd.ops.voxels import Voxels, cell_centers, cell_ids, grid_of

#: Points of a voxel, and voxels of a scene in training and in evaluation, under hard voxelisation.
MAX_POINTS, MAX_VOXELS = 5, (16000, 40000)


class SECOND(DenseDetector):
    """Voxels of points -> sparse 3D network -> a map seen from above -> 2D network -> boxes; defaults of KITTI.

    Args:
        encoder_channels: of the sparse encoder's stages, before `width` as all channels.
        encoder_out_channels: of its last layer; the canvas has this times the layers of voxels that are left (2).
        voxelization: "dynamic", a voxel is the mean of all its points; "hard", of its first `max_points`, and a scene
            has at most `max_voxels` (in training, in evaluation) of them: as OpenMMLab's weights were trained.
        Further arguments as `PointPillars`.

    Elements: "voxels", the sparse encoder's output x [V, C] at its active cells; `importance` the points within each
    cell, 0 for cells that only their neighbours reach.
    Maps: "canvas", "backbone_0", "backbone_1", "neck".
    Parameters (three classes): 5,325,576; 1,342,824 at width 0.5; 341,448 at 0.25.

    Errors: as `PointPillars`.

    Source: Yan et al., "SECOND: Sparsely Embedded Convolutional Detection", Sensors 2018.
    Differences: structure, channels, anchors and losses are those of the KITTI config of mmdet3d 1.4: a voxel is the
    mean of its points, and its anchors are matched with objects of all classes (`per_class=False`) and stand from
    border to border (`centred=False`). Voxelisation is dynamic by default.
    """

    def __init__(
        self,
        classes: Sequence[str] = ("Car", "Pedestrian", "Cyclist"),
        width: float = 1.0,
        point_channels: int = 4,
        point_range: Sequence[float] = (0, -40, -3, 70.4, 40, 1),
        voxel_size: Sequence[float] = (0.05, 0.05, 0.1),
        encoder_channels: Sequence[Sequence[int]] = ((16,), (32, 32, 32), (64, 64, 64), (64, 64, 64)),
        encoder_out_channels: int = 128,
        layer_nums: Sequence[int] = (5, 5),
        strides: Sequence[int] = (1, 2),
        channels: Sequence[int] = (128, 256),
        neck_strides: Sequence[float] = (1, 2),
        neck_channels: Sequence[int] = (256, 256),
        voxelization: str = "dynamic",
        max_points: int = MAX_POINTS,
        max_voxels: Sequence[int] = MAX_VOXELS,
        head: str = "anchor",
        anchors: Mapping[str, Anchor | Mapping[str, Any]] | None = None,
        head_options: Mapping[str, Any] | None = None,
    ) -> None:
        depth, height, columns = grid_of(point_range, voxel_size)
        # One empty layer on top, as in all published versions: three halvings of 41 layers leave 5, of 40 only 4.
        grid = (depth + 1, height, columns)
        encoder = SparseEncoder(
            point_channels,
            [[scaled(count, width) for count in stage] for stage in encoder_channels],
            scaled(encoder_out_channels, width),
            grid,
        )
        published = {"per_class": False, "centred": False}
        make_head = head_maker(head, classes, anchors, kitti_anchors(0.35, 0.2), published, width, head_options)
        super().__init__(
            classes,
            scaled(encoder_out_channels, width) * encoder.out_grid[0],
            encoder.out_grid[1:],
            point_range,
            layer_nums,
            strides,
            channels,
            neck_strides,
            neck_channels,
            width,
            make_head,
        )
        self.middle_encoder = encoder
        self.grid = grid
        self.voxelizer = Voxelizer(voxelization, point_channels, point_range, voxel_size, max_points, max_voxels)

    def canvas_of(self, scenes: Scenes) -> tuple[Tensor, dict[str, Elements]]:
        voxels = self.voxelizer(scenes, self.training)
        x = segment_mean(scenes.points[voxels.point], voxels.voxel, voxels.coords.size(0))
        out = self.middle_encoder(SparseTensor(x, voxels.coords, self.grid, scenes.num_scenes))
        return out.bev(), {"voxels": self._elements(out, voxels)}

    def _elements(self, out: SparseTensor, voxels: Voxels) -> Elements:
        """The encoder's output cells: equal boxes that share out the range, and the points within each."""
        cells, scale = torch.tensor(out.grid), torch.tensor(voxels.grid)
        coarse = voxels.coords.clone()
        coarse[:, 1:] = voxels.coords[:, 1:] * cells.to(coarse) // scale.to(coarse)
        total = out.num_scenes * int(cells.prod())
        count = out.x.new_zeros(total).index_add_(0, cell_ids(coarse, out.grid), voxels.count.to(out.x))
        low, high = self.point_range[:3], self.point_range[3:]
        size = [(b - a) / n for a, b, n in zip(low, high, reversed(out.grid))]
        n_id = cell_ids(out.coords, out.grid)
        return Elements(out.x, cell_centers(out.coords, low, size), out.coords[:, 0], n_id, count[n_id])
