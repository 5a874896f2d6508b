"""Which voxelisation a detector uses, and with which caps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from structkd.datasets.points.scenes import Scenes
from structkd.errors import ConfigError, DataError
from structkd.ops.voxels import Voxels, hard_voxelize, voxelize


@dataclass(frozen=True)
class Voxelizer:
    """Scenes to `Voxels`.

    Attributes:
        kind: "dynamic" (all points) or "hard" (caps).
        point_channels: columns that the points must have.
        point_range, voxel_size: metres.
        max_points: of a voxel, for "hard".
        max_voxels: of a scene in training and in evaluation, for "hard".

    Raises:
        ConfigError: another kind.
    """

    kind: str
    point_channels: int
    point_range: Sequence[float]
    voxel_size: Sequence[float]
    max_points: int
    max_voxels: Sequence[int]

    def __post_init__(self) -> None:
        if self.kind not in ("dynamic", "hard"):
            raise ConfigError(f"voxelization='{self.kind}'; expected 'dynamic' or 'hard'.")
        if len(self.max_voxels) != 2:
            raise ConfigError(f"max_voxels={tuple(self.max_voxels)}; expected two: in training and in evaluation.")

    def __call__(self, scenes: Scenes, training: bool) -> Voxels:
        columns = scenes.points.size(1)
        if columns != self.point_channels:
            raise DataError(f"points have {columns} columns; the detector was built with {self.point_channels}.")
        given = scenes.points, scenes.batch, scenes.num_scenes, self.point_range, self.voxel_size
        if self.kind == "hard":
            return hard_voxelize(*given, self.max_points, self.max_voxels[0 if training else 1])
        return voxelize(*given)
