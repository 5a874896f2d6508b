"""Points and their features pooled by 3D boxes: a fixed number of points, or a grid of cells, for each box."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcv_ops.boxes import inside
from mmcv_ops.registry import operator
from structkd.ops.ragged import table_places


@operator("roipoint_pool3d_forward", "ops.points_in_boxes", "float64 where the kernel rounds")
def roipoint_pool3d_forward(
    xyz: Tensor, boxes3d: Tensor, pts_feature: Tensor, pooled_features: Tensor, pooled_empty_flag: Tensor
) -> None:
    """The first S points of each box, over again where there are fewer.

    Args:
        xyz: [B, N, 3].
        boxes3d: [B, M, 7].
        pts_feature: [B, N, C].
        pooled_features: [B, M, S, 3 + C] zeros, to be filled with coordinates and features.
        pooled_empty_flag: [B, M] int32, to be filled with 1 for a box without points, which keeps its zeros.
    """
    size = pooled_features.size(2)
    for points, boxes, features, pooled, empty in zip(xyz, boxes3d, pts_feature, pooled_features, pooled_empty_flag):
        box, point = inside(points, boxes).t().nonzero(as_tuple=True)
        count = torch.bincount(box, minlength=boxes.size(0))
        empty.copy_(count == 0)
        some = count > 0
        row = point[table_places(count, size, cyclic=True)[some]]
        pooled[some] = torch.cat([points[row], features[row]], 2).to(pooled.dtype)


@operator("roiaware_pool3d_forward", "ops.points_in_boxes", "float64 where the kernel rounds")
def roiaware_pool3d_forward(
    rois: Tensor,
    pts: Tensor,
    pts_feature: Tensor,
    argmax: Tensor,
    pts_idx_of_voxels: Tensor,
    pooled_features: Tensor,
    pool_method: int,
) -> None:
    """Features of the points in each cell of each box.

    Args:
        rois: [R, 7].
        pts, pts_feature: [N, 3], [N, C].
        argmax: [R, X, Y, Z, C] int32, to be filled with the row of each maximum, -1 for none (max only).
        pts_idx_of_voxels: [R, X, Y, Z, T] int32, to be filled with the number of points of a cell, T - 1 at most, and
            their rows.
        pooled_features: [R, X, Y, Z, C] zeros, to be filled.
        pool_method: 0 the largest, 1 the mean.
    """
    cells, room = pts_idx_of_voxels.shape[1:4], pts_idx_of_voxels.size(4) - 1
    box, point = inside(pts, rois).t().nonzero(as_tuple=True)
    cell = box * cells.numel() + _cell(pts[point].double(), rois[box].double(), cells)
    order = torch.argsort(cell, stable=True)  # points of a cell stay in the order of their rows
    cell, point = cell[order], point[order]
    count = torch.bincount(cell, minlength=rois.size(0) * cells.numel())
    place = torch.arange(cell.numel(), device=cell.device) - (count.cumsum(0) - count)[cell]
    kept = place < room
    cell, point, place = cell[kept], point[kept], place[kept]
    table = pts_idx_of_voxels.view(-1, room + 1)
    table.zero_()
    table[:, 0] = count.clamp(max=room).to(table.dtype)
    table[cell, place + 1] = point.to(table.dtype)
    pooled, width = pooled_features.view(-1, pooled_features.size(4)), pooled_features.size(4)
    features, into = pts_feature[point], cell.unsqueeze(1).expand(-1, width)
    if pool_method == 1:
        pooled.copy_(torch.zeros_like(pooled).index_add_(0, cell, features) / table[:, :1].clamp(min=1))
        return
    largest = torch.full_like(pooled, -torch.inf).scatter_reduce_(0, into, features, "amax")
    rows = torch.where(features == largest[cell], point.unsqueeze(1), pts.size(0))
    first = torch.full_like(largest, pts.size(0), dtype=torch.int64).scatter_reduce_(0, into, rows, "amin")
    found = first < pts.size(0)
    pooled.copy_(torch.where(found, largest, 0))
    argmax.copy_(torch.where(found, first, -1).view(argmax.shape))


@operator("roiaware_pool3d_backward")
def roiaware_pool3d_backward(
    pts_idx_of_voxels: Tensor, argmax: Tensor, grad_out: Tensor, grad_in: Tensor, pool_method: int
) -> None:
    """Add the gradients [R, X, Y, Z, C] to those of the points' features, [N, C]."""
    grad = grad_out.flatten(0, 3)
    if pool_method == 1:
        table = pts_idx_of_voxels.flatten(0, 3).long()
        there = torch.arange(table.size(1) - 1, device=table.device) < table[:, :1]
        cell, place = there.nonzero(as_tuple=True)
        share = grad / table[:, :1].clamp(min=1)
        grad_in.index_add_(0, table[cell, place + 1], share[cell].to(grad_in.dtype))
    else:
        rows = argmax.flatten(0, 3).long()
        grad_in.scatter_add_(0, rows.clamp(min=0), torch.where(rows >= 0, grad, 0).to(grad_in.dtype))


def _cell(points: Tensor, boxes: Tensor, cells: torch.Size) -> Tensor:
    """[Q] cell (x, y, z; z fastest) of points [Q, 3] in their boxes [Q, 7]."""
    dx, dy, dz = (points - boxes[:, :3]).unbind(1)
    cos, sin = boxes[:, 6].cos(), boxes[:, 6].sin()
    local = torch.stack([dx * cos + dy * sin, dy * cos - dx * sin, dz], 1)
    local[:, :2] += boxes[:, 3:5] / 2
    number = local.new_tensor(cells)
    index = (local / (boxes[:, 3:6] / number)).long().clamp(min=0)
    x, y, z = torch.minimum(index, number.long() - 1).unbind(1)
    return (x * cells[1] + y) * cells[2] + z
