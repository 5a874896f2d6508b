"""PointNet++ on batches of point sets of any sizes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from structkd.models.points.layers import norm_rows
from structkd.ops.ball_query import ball_query
from structkd.ops.farthest_points import farthest_points
from structkd.ops.segment import segment_max
from structkd.ops.three_nn import three_interpolate, three_nn


class PointSet(NamedTuple):
    """Points of B scenes: `pos` [N, 3] metres, `x` [N, C] features, `batch` [N] int64 ascending scene of each."""

    pos: Tensor
    x: Tensor
    batch: Tensor


class PointMLP(nn.Module):
    """Linear layers on rows [N, C], each with batch norm (unless `eps` is None) and ReLU.

    Args:
        channels: of the input and of each layer's output.
        eps: of the batch norms; `None` leaves them out.
        bias: of the linear layers.
    """

    def __init__(self, channels: Sequence[int], eps: float | None = 1e-5, bias: bool = False) -> None:
        super().__init__()
        self.lins = nn.ModuleList(nn.Linear(i, o, bias=bias) for i, o in pairwise(channels))
        self.norms = nn.ModuleList(nn.BatchNorm1d(count, eps=eps) for count in channels[1:] if eps is not None)

    def forward(self, x: Tensor) -> Tensor:
        for i, lin in enumerate(self.lins):
            x = lin(x)
            if self.norms:
                norm = self.norms[i]
                assert isinstance(norm, nn.BatchNorm1d)
                x = norm_rows(norm, x)
            x = x.relu_()  # neither layer's gradient needs what it gave
        return x


class SetAbstraction(nn.Module):
    """Fewer points, each with what it finds around itself within several radii.

    Args:
        in_channels: C of the points.
        num_points: points kept of a scene (all, where it has fewer), by farthest point sampling.
        radii: in metres.
        num_samples: neighbours within each radius.
        channels: layers on each neighbour for each radius; a neighbour brings its offset (3) and its features.
        eps, bias: as `PointMLP`.

    Source: Qi et al., "PointNet++", NeurIPS 2017, sections 3.2 and 3.3 (multi-scale grouping).
    """

    def __init__(
        self,
        in_channels: int,
        num_points: int,
        radii: Sequence[float],
        num_samples: Sequence[int],
        channels: Sequence[Sequence[int]],
        eps: float = 1e-5,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.num_points, self.radii, self.num_samples = num_points, tuple(radii), tuple(num_samples)
        self.mlps = nn.ModuleList(PointMLP((3 + in_channels, *layers), eps, bias) for layers in channels)
        self.out_channels = sum(layers[-1] for layers in channels)

    def forward(self, points: PointSet) -> PointSet:
        pos, x, batch = points
        rows = farthest_points(pos, self.num_points, batch)
        centre, scene = pos[rows], batch[rows]
        found = []
        for radius, count, mlp in zip(self.radii, self.num_samples, self.mlps, strict=True):
            near = ball_query(pos, centre, radius, count, batch, scene)
            offset = pos[near] - centre.unsqueeze(1)
            # index_select's gradient is deterministic on the CPU; that of x[near] is not.
            grouped = torch.cat([offset.flatten(0, 1), x.index_select(0, near.flatten())], 1)
            found.append(mlp(grouped).unflatten(0, (rows.numel(), count)).max(1).values)
        return PointSet(centre, torch.cat(found, 1), scene)


class GlobalAbstraction(nn.Module):
    """One vector a scene: layers on its points (position and features), then their maximum."""

    def __init__(self, in_channels: int, channels: Sequence[int], eps: float = 1e-5) -> None:
        super().__init__()
        self.mlp = PointMLP((3 + in_channels, *channels), eps)

    def forward(self, points: PointSet, num_scenes: int) -> Tensor:
        x = self.mlp(torch.cat([points.pos, points.x], 1))
        return segment_max(x, points.batch, num_scenes)


class FeaturePropagation(nn.Module):
    """Features of a coarser level brought to a finer one, joined with what is there.

    Args:
        coarse_channels, fine_channels: C of the two levels.
        channels: layers on the joined features.
    """

    def __init__(self, coarse_channels: int, fine_channels: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.mlp = PointMLP((coarse_channels + fine_channels, *channels))

    def forward(self, coarse: PointSet, fine: PointSet) -> PointSet:
        index, distance = three_nn(coarse.pos, fine.pos, coarse.batch, fine.batch)
        x = torch.cat([three_interpolate(coarse.x, index, distance), fine.x.to(coarse.x.dtype)], 1)
        return fine._replace(x=self.mlp(x))


class PointNet2(nn.Module):
    """Set abstraction down, feature propagation up again: features [N, C] of all points.

    Args:
        in_channels: features of a point beside its position.
        num_points: points a scene keeps at each level.
        radii, num_samples, sa_channels: of each level, see `SetAbstraction`.
        fp_channels: layers of each step up, from the coarsest level.
    """

    def __init__(
        self,
        in_channels: int,
        num_points: Sequence[int],
        radii: Sequence[Sequence[float]],
        num_samples: Sequence[Sequence[int]],
        sa_channels: Sequence[Sequence[Sequence[int]]],
        fp_channels: Sequence[Sequence[int]],
    ) -> None:
        super().__init__()
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        widths = [in_channels]
        for level in zip(num_points, radii, num_samples, sa_channels, strict=True):
            down = SetAbstraction(widths[-1], *level, eps=1e-3, bias=True)
            self.down.append(down)
            widths.append(down.out_channels)
        coarse = widths.pop()
        for layers, fine in zip(fp_channels, reversed(widths), strict=True):
            self.up.append(FeaturePropagation(coarse, fine, layers))
            coarse = layers[-1]
        self.out_channels = coarse

    def forward(self, points: PointSet) -> Tensor:
        levels = [points]
        for down in self.down:
            levels.append(down(levels[-1]))
        found = levels.pop()
        for up in self.up:
            found = up(found, levels.pop())
        return found.x
