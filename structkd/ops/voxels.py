"""Voxels and pillars of point clouds: which cells hold points, and which point lies in which cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from structkd.backends import Backend, Op
from structkd.errors import ConfigError, DataError
from structkd.ops.triton.launch import refusals

#: How far, in cells, the range may be from a whole number of them.
_SLACK = 1e-3


@dataclass(frozen=True)
class Voxels:
    """The cells of a batch of scans that hold points; a pillar is a voxel of a grid with D = 1.

    Attributes:
        coords: [V, 4] int64 scene, z, y, x; ascending by `id`, so the same on any number of threads.
        id: [V] int64 cell ((scene * D + z) * H + y) * W + x.
        point: [Q] rows of `points` that lie in range (and under the caps), ascending.
        voxel: [Q] row of `coords` each belongs to.
        count: [V] int64 points in each voxel (those under the caps).
        grid: D, H, W.
        point_range: x0, y0, z0, x1, y1, z1 in metres.
        voxel_size: dx, dy, dz in metres.
    """

    coords: Tensor
    id: Tensor
    point: Tensor
    voxel: Tensor
    count: Tensor
    grid: tuple[int, int, int]
    point_range: tuple[float, ...]
    voxel_size: tuple[float, ...]

    def centers(self) -> Tensor:
        """[V, 3] x, y, z of the cells' centres in metres, float32."""
        return cell_centers(self.coords, self.point_range, self.voxel_size)


def cell_centers(coords: Tensor, point_range: Sequence[float], voxel_size: Sequence[float]) -> Tensor:
    """[V, 3] float32 centres x, y, z in metres of the cells `coords` [V, 4] (scene, z, y, x)."""
    low = torch.tensor(point_range[:3], dtype=torch.float64, device=coords.device)
    size = torch.tensor(voxel_size, dtype=torch.float64, device=coords.device)
    return (low + (coords[:, [3, 2, 1]] + 0.5) * size).float()


def cell_ids(coords: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """[V] linear ids ((scene * D + z) * H + y) * W + x of cells `coords` [V, 4]."""
    depth, height, width = grid
    scene, z, y, x = coords.unbind(1)
    return ((scene * depth + z) * height + y) * width + x


def cell_coords(ids: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """[V, 4] scene, z, y, x of linear ids [V]; the inverse of `cell_ids`."""
    depth, height, width = grid
    row, x = ids // width, ids % width
    plane, y = row // height, row % height
    return torch.stack([plane // depth, plane % depth, y, x], 1)


def grid_of(point_range: Sequence[float], voxel_size: Sequence[float]) -> tuple[int, int, int]:
    """Cells D, H, W along z, y, x.

    Raises:
        ConfigError: a size that is not above 0, or a range that is not a whole number of cells.
    """
    if len(point_range) != 6 or len(voxel_size) != 3 or min(voxel_size) <= 0:
        raise ConfigError(
            f"point_range {tuple(point_range)}, voxel_size {tuple(voxel_size)}: expected x0, y0, z0, x1, y1, z1 and "
            "three sizes above 0."
        )
    cells = []
    for low, high, size in zip(point_range[:3], point_range[3:], voxel_size):
        count = round((high - low) / size)
        if count < 1 or abs((high - low) / size - count) > _SLACK:
            raise ConfigError(
                f"From {low} to {high} there are {(high - low) / size:.4g} voxels of {size}; expected a whole number."
            )
        cells.append(count)
    return cells[2], cells[1], cells[0]


@torch.no_grad()
def voxelize(
    points: Tensor,
    batch: Tensor,
    num_scenes: int,
    point_range: Sequence[float],
    voxel_size: Sequence[float],
    *,
    backend: str | None = None,
) -> Voxels:
    """All points of all cells ("dynamic": nothing is dropped for lack of room).

    Args:
        points: [P, 3 or more] x, y, z, ... in metres. A point outside the range, on its upper border, or with NaN
            among x, y, z is in no voxel.
        batch: [P] int64 ascending, scene of each point.
        num_scenes: number of scenes, those without points included.
        point_range: x0, y0, z0, x1, y1, z1.
        voxel_size: dx, dy, dz.
        backend: who finds each point's cell: `triton` (CUDA, one pass) or `torch`.

    Raises:
        DataError: shapes that do not fit, or a batch vector that is not ascending within 0 to num_scenes - 1.
        ConfigError: as `grid_of`.

    Source: Zhou et al., "End-to-End Multi-View Fusion for 3D Object Detection in LiDAR Point Clouds", CoRL 2019.
    Differences: cells are found in the dtype of the points by subtracting and dividing, as in mmcv, so that a point
    within rounding of a border falls on the same side as there.
    """
    _check(points, batch, num_scenes)
    grid = grid_of(point_range, voxel_size)
    low, size = points.new_tensor(point_range[:3]), points.new_tensor(voxel_size)
    cell = CELLS_OF_POINTS(points, batch, low, size, grid, backend=backend)
    point = (cell >= 0).nonzero().squeeze(1)
    cell_id = cell[point]
    ids, voxel, count = torch.unique(cell_id, return_inverse=True, return_counts=True)
    return Voxels(cell_coords(ids, grid), ids, point, voxel, count, grid, tuple(point_range), tuple(voxel_size))


@torch.no_grad()
def hard_voxelize(
    points: Tensor,
    batch: Tensor,
    num_scenes: int,
    point_range: Sequence[float],
    voxel_size: Sequence[float],
    max_points: int,
    max_voxels: int,
) -> Voxels:
    """As `voxelize`, with caps: what mmcv's deterministic hard voxelisation keeps.

    A scene keeps the first `max_voxels` of its voxels in order of their first points, a voxel its first `max_points`
    points, both in the order of `points`. Voxels come in ascending order of ids here, in order of appearance there.

    Args:
        points, batch, num_scenes, point_range, voxel_size: as for `voxelize`.
        max_points: points of a voxel, 32 or 5 in the usual configs.
        max_voxels: voxels of a scene, 16000 to 40000 in the usual configs.

    Source: Lang et al., "PointPillars", CVPR 2019, section 2.1; there both choices are random.
    """
    if max_points < 1 or max_voxels < 1:
        raise ConfigError(f"hard_voxelize(max_points={max_points}, max_voxels={max_voxels}): expected at least 1.")
    found = voxelize(points, batch, num_scenes, point_range, voxel_size)
    kept = _rank_within(found.voxel, found.count) < max_points
    keep = _first_seen(found, num_scenes) < max_voxels
    kept &= keep[found.voxel]
    row = keep.cumsum(0) - 1
    return replace(
        found,
        coords=found.coords[keep],
        id=found.id[keep],
        point=found.point[kept],
        voxel=row[found.voxel[kept]],
        count=found.count[keep].clamp(max=max_points),
    )


def _first_seen(voxels: Voxels, num_scenes: int) -> Tensor:
    """[V] place of each voxel among those of its scene, by its first point."""
    size = voxels.count.numel()
    order = torch.argsort(voxels.voxel, stable=True)
    first = order[voxels.count.cumsum(0) - voxels.count]
    # Points are grouped by scene, so voxels by first point are too.
    place = torch.empty_like(first)
    place[first.argsort()] = torch.arange(size, device=first.device)
    per_scene = torch.bincount(voxels.coords[:, 0], minlength=num_scenes)
    return place - (per_scene.cumsum(0) - per_scene)[voxels.coords[:, 0]]


def _rank_within(segment: Tensor, count: Tensor) -> Tensor:
    """[Q] place of each row among the rows of its segment, in row order; `count` holds the rows of each segment."""
    order = torch.argsort(segment, stable=True)
    rank = torch.empty_like(order)
    start = (count.cumsum(0) - count)[segment[order]]
    rank[order] = torch.arange(order.numel(), device=order.device) - start
    return rank


def _check(points: Tensor, batch: Tensor, num_scenes: int) -> None:
    if points.dim() != 2 or points.size(1) < 3 or batch.shape != points.shape[:1] or not points.is_floating_point():
        raise DataError(
            f"Got points {tuple(points.shape)} {points.dtype} and batch {tuple(batch.shape)}; expected floating point "
            "[P, 3 or more] and [P]."
        )
    if torch.compiler.is_compiling():
        return  # there are no values to look at
    if batch.numel() and (bool((batch[1:] < batch[:-1]).any()) or batch[0] < 0 or batch[-1] >= num_scenes):
        raise DataError(f"batch must be ascending and within 0 to {num_scenes - 1}, for {num_scenes} scenes.")


def _torch(points: Tensor, batch: Tensor, low: Tensor, size: Tensor, grid: tuple[int, int, int]) -> Tensor:
    depth, height, width = grid
    cell = ((points[:, :3] - low) / size).floor_()
    inside = ((cell >= 0) & (cell < points.new_tensor([width, height, depth]))).all(1)
    x, y, z = torch.where(inside.unsqueeze(1), cell, 0).long().unbind(1)
    return torch.where(inside, cell_ids(torch.stack([batch, z, y, x], 1), grid), -1)


def _triton(points: Tensor, batch: Tensor, low: Tensor, size: Tensor, grid: tuple[int, int, int]) -> Tensor:
    from structkd.ops.triton.voxels import cells

    return cells(points, batch, low, size, grid)


def _no_triton(points: Tensor | None = None, *rest: object) -> list[str]:
    return refusals(points, dtypes=(torch.float32, torch.float64))


#: Linear cell [P] of each point, -1 outside of the grid; takes points, batch, the range's low end, the size, the grid.
CELLS_OF_POINTS = Op("cells_of_points", [Backend("triton", _triton, _no_triton), Backend("torch", _torch)])
