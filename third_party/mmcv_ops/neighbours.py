"""Points near points: balls, nearest neighbours, farthest point sampling; over batches [B, N, 3] or stacked scenes."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcv_ops.registry import operator
from structkd.ops.ball_query import ball_query
from structkd.ops.farthest_points import farthest_points
from structkd.ops.knn import knn
from structkd.ops.three_nn import three_nn

#: Square distance that stands for a neighbour that is not there, as in mmcv's kernel.
NOWHERE = 1e10


@operator("ball_query_forward", "ops.ball_query")
def ball_query_forward(
    new_xyz: Tensor,
    xyz: Tensor,
    idx: Tensor,
    b: int,
    n: int,
    m: int,
    min_radius: float,
    max_radius: float,
    nsample: int,
) -> None:
    """Fill `idx` [B, M, nsample] int32 with the first points of `xyz` [B, N, 3] around each centre [B, M, 3].

    Around is from `min_radius` (or at the centre itself) to below `max_radius`. Where there are fewer, the first is
    repeated; where there are none, the indices stay what they are.
    """
    if 0 in (b, n, m):
        return
    scenes = _scene(xyz), _scene(new_xyz)
    found = ball_query(_flat(xyz), _flat(new_xyz), max_radius, nsample, *scenes, inner=min_radius)
    local = found.view(b, m, nsample) - _starts(b, n, xyz)
    distance = (torch.gather(xyz, 1, local[:, :, :1].expand(b, m, 3)) - new_xyz).square().sum(2)
    empty = ~((distance < max_radius**2) & (distance >= min_radius**2) | (distance == 0))
    idx.copy_(torch.where(empty.unsqueeze(2), idx, local))


@operator("stack_ball_query_forward", "ops.ball_query")
def stack_ball_query_forward(
    new_xyz: Tensor,
    new_xyz_batch_cnt: Tensor,
    xyz: Tensor,
    xyz_batch_cnt: Tensor,
    idx: Tensor,
    max_radius: float,
    nsample: int,
) -> None:
    """As `ball_query_forward`, for scenes one after the other: `xyz` [N, 3], `new_xyz` [M, 3] and their counts [B].

    Indices count from the start of the scene; -1 in the first place says that the ball is empty.
    """
    start = (xyz_batch_cnt.cumsum(0) - xyz_batch_cnt).long()
    scene = torch.repeat_interleave(new_xyz_batch_cnt.long())
    there = (xyz_batch_cnt > 0)[scene]  # centres of scenes that have points
    points = torch.repeat_interleave(xyz_batch_cnt.long())
    if bool(there.any()):
        found = ball_query(xyz, new_xyz[there], max_radius, nsample, points, scene[there])
        idx[there] = (found - start[scene[there]].unsqueeze(1)).to(idx.dtype)
    first = (start[scene] + idx[:, 0]).clamp(max=max(xyz.size(0) - 1, 0))
    empty = ~there
    if xyz.size(0):
        empty |= (xyz[first] - new_xyz).square().sum(1) >= max_radius**2
    idx[empty] = 0
    idx[empty, 0] = -1


@operator("knn_forward", "ops.knn", "of equal distances the lower row; the kernel's heap keeps any")
def knn_forward(xyz: Tensor, new_xyz: Tensor, idx: Tensor, dist2: Tensor, b: int, n: int, m: int, nsample: int) -> None:
    """Fill `idx`, `dist2` [B, M, nsample] with the points of `xyz` [B, N, 3] nearest to `new_xyz` [B, M, 3]."""
    idx.zero_()
    dist2.fill_(NOWHERE)
    k = min(nsample, n)
    if k and b and m:
        (_, found), distance = knn(_flat(xyz), k, _flat(new_xyz), _scene(xyz), _scene(new_xyz))
        idx[:, :, :k] = (found.view(b, m, k) - _starts(b, n, xyz)).to(idx.dtype)
        dist2[:, :, :k] = distance.view(b, m, k).square().to(dist2.dtype)


@operator("three_nn_forward", "ops.three_nn", "distances are exact to rounding; of fewer than three points one repeats")
def three_nn_forward(unknown: Tensor, known: Tensor, dist2: Tensor, idx: Tensor, b: int, n: int, m: int) -> None:
    """Fill `dist2`, `idx` [B, N, 3] with square distance and place of the three of `known` [B, M, 3] nearest."""
    if 0 in (b, n, m):
        dist2.fill_(torch.inf)
        idx.zero_()
        return
    found, distance = three_nn(_flat(known), _flat(unknown), _scene(known), _scene(unknown))
    idx.copy_(found.view(b, n, 3) - _starts(b, m, known))
    dist2.copy_(distance.view(b, n, 3).square())


@operator("furthest_point_sampling_forward", "ops.farthest_points", "distances in float64; no point twice")
def furthest_point_sampling_forward(points: Tensor, temp: Tensor, idx: Tensor, b: int, n: int, m: int) -> None:
    """Fill `idx` [B, M] int32 with places in `points` [B, N, 3], each farthest from those before; the first is 0.

    `temp` [B, N] is the kernel's scratch space and stays as it is. Beyond N the places are 0.
    """
    idx.zero_()
    k = min(m, n)
    if k and b:
        rows = farthest_points(_flat(points), k, _scene(points))
        idx[:, :k] = (rows.view(b, k) - _starts(b, n, points).squeeze(2)).to(idx.dtype)


@operator("furthest_point_sampling_with_dist_forward")
def furthest_point_sampling_with_dist_forward(
    points: Tensor, temp: Tensor, idx: Tensor, b: int, n: int, m: int
) -> None:
    """As `furthest_point_sampling_forward`, from distances [B, N, N] between the points.

    `temp` [B, N] holds the distances to what is chosen, large at first. Of equal distances the first.
    """
    last = torch.zeros(b, 1, 1, dtype=torch.int64, device=points.device)
    idx.zero_()
    for j in range(1, m if n else 0):
        torch.minimum(temp, points.gather(1, last.expand(b, 1, n)).squeeze(1), out=temp)
        last = temp.argmax(1).view(b, 1, 1)
        idx[:, j] = last.view(b).to(idx.dtype)


def _flat(points: Tensor) -> Tensor:
    return points.reshape(-1, points.size(2))


def _scene(points: Tensor) -> Tensor:
    return torch.arange(points.size(0), device=points.device).repeat_interleave(points.size(1))


def _starts(b: int, n: int, like: Tensor) -> Tensor:
    """[B, 1, 1] row where each sample starts in the flat list."""
    return (torch.arange(b, device=like.device) * n).view(b, 1, 1)
