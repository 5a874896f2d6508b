"""Points into voxels, with and without caps."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcv_ops.registry import operator
from structkd.ops.voxels import Voxels, hard_voxelize, voxelize


@operator("hard_voxelize_forward", "ops.voxels.hard_voxelize")
def hard_voxelize_forward(
    points: Tensor,
    voxel_size: Tensor,
    coors_range: Tensor,
    voxels: Tensor,
    coors: Tensor,
    num_points_per_voxel: Tensor,
    voxel_num: Tensor,
    max_points: int,
    max_voxels: int,
    NDim: int = 3,
    deterministic: bool = True,
) -> None:
    """Voxels in order of their first points, each with its first points.

    Args:
        points: [P, C] x, y, z, ...
        voxel_size, coors_range: [3], [6].
        voxels: [max_voxels, max_points, C] zeros, to be filled.
        coors: [max_voxels, 3] int32, to be filled with z, y, x.
        num_points_per_voxel: [max_voxels] int32, to be filled.
        voxel_num: [] int64, to be filled with the number of voxels.
        max_points, max_voxels: caps.
        NDim: 3.
        deterministic: has no effect; the result is always that of the deterministic kernel.
    """
    _check(NDim)
    scene = points.new_zeros(points.size(0), dtype=torch.int64)
    found = hard_voxelize(points, scene, 1, *_grid(voxel_size, coors_range), max_points, max_voxels)
    size = found.count.numel()
    # By voxel, and in the order of the points within each: the first of a voxel says when it appeared.
    order = torch.argsort(found.voxel, stable=True)
    start = found.count.cumsum(0) - found.count
    place = torch.empty_like(start)
    place[found.point[order[start]].argsort()] = torch.arange(size, device=start.device)
    slot = torch.arange(order.numel(), device=order.device) - start[found.voxel[order]]
    voxels[place[found.voxel[order]], slot] = points[found.point[order]].to(voxels.dtype)
    coors[place] = found.coords[:, 1:].to(coors.dtype)
    num_points_per_voxel[place] = found.count.to(num_points_per_voxel.dtype)
    voxel_num.fill_(size)


@operator("dynamic_voxelize_forward", "ops.voxels.voxelize")
def dynamic_voxelize_forward(
    points: Tensor, voxel_size: Tensor, coors_range: Tensor, coors: Tensor, NDim: int = 3
) -> None:
    """Fill `coors` [P, 3] int32 with the voxel z, y, x of each point, -1 three times for one out of range."""
    _check(NDim)
    scene = points.new_zeros(points.size(0), dtype=torch.int64)
    found: Voxels = voxelize(points, scene, 1, *_grid(voxel_size, coors_range))
    coors.fill_(-1)
    coors[found.point] = found.coords[found.voxel, 1:].to(coors.dtype)


def _grid(voxel_size: Tensor, coors_range: Tensor) -> tuple[list[float], list[float]]:
    """Range and size of whole voxels: mmcv rounds the number of voxels and leaves the lower border where it is."""
    size, low, high = voxel_size.tolist(), coors_range[:3].tolist(), coors_range[3:].tolist()
    upper = [a + max(round((b - a) / s), 1) * s for a, b, s in zip(low, high, size)]
    return [*low, *upper], size


def _check(NDim: int) -> None:
    if NDim != 3:
        raise NotImplementedError(f"Voxels of {NDim} dimensions; mmcv's kernels know 3 only, and so do these.")
