"""Which points of a scan a point-based detector reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def sample_points(
    points: Tensor, batch: Tensor, num_scenes: int, count: int, point_range: Sequence[float], far: float
) -> Tensor:
    """At most `count` points of each scene: the far ones first of all, near ones by chance.

    The choice depends on the points alone, not on their order in the file nor on any state of randomness: teacher and
    student see the same points in the same order, and a scan gives the same result every time. In training the
    augmentation of each scan varies it.

    Args:
        points: [P, 3 or more].
        batch: [P] scene of each.
        num_scenes: B.
        count: points a scene gets, or as many as it has.
        point_range: x0, y0, z0, x1, y1, z1; points outside are left out.
        far: distance from the sensor, in metres, from which on all points are kept (while there is room).

    Returns:
        [N] int64 rows of `points`, scene by scene, mixed within each.

    Differences: mmdet3d draws anew every time, from NumPy's global state, and fills up scans with too few points by
    repetition.
    """
    pos = points[:, :3]
    low, high = pos.new_tensor(point_range[:3]), pos.new_tensor(point_range[3:])
    inside = ((pos >= low) & (pos < high)).all(1)
    chosen = [torch.empty(0, dtype=torch.int64, device=points.device)]
    for scene in range(num_scenes):
        rows = ((batch == scene) & inside).nonzero().squeeze(1)
        rows = rows[_by_coordinates(pos[rows])]
        generator = torch.Generator().manual_seed(rows.numel())
        rows = rows[torch.randperm(rows.numel(), generator=generator).to(rows.device)]
        if rows.numel() > count:
            away = pos[rows].norm(dim=1) >= far
            room = max(count - int(away.sum()), 0)
            rows = rows[(away & (away.cumsum(0) <= count)) | (~away & ((~away).cumsum(0) <= room))]
        chosen.append(rows)
    return torch.cat(chosen)


def _by_coordinates(pos: Tensor) -> Tensor:
    """The order of points by x, then y, then z."""
    order = torch.arange(pos.size(0), device=pos.device)
    for axis in (2, 1, 0):
        order = order[pos[order, axis].argsort(stable=True)]
    return order
