"""The first few points within a radius."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.errors import ConfigError, DataError
from structkd.ops.ragged import table_places
from structkd.ops.voxels import cell_ids

#: Candidate pairs of centre and point compared at once.
BLOCK = 1 << 20
#: Cells are wider than the radius by this share, far above what rounding does to a distance.
_MARGIN = 1e-4


@torch.no_grad()
def ball_query(
    x: Tensor,
    y: Tensor,
    radius: float,
    k: int,
    batch_x: Tensor | None = None,
    batch_y: Tensor | None = None,
    inner: float = 0.0,
) -> Tensor:
    """Rows of `x` within `radius` of each centre: the first `k` of them in the order of `x`.

    Where there are fewer, the first is repeated; where there are none, the first row of the centre's scene stands
    for all, as in the published CUDA kernels (a centre that is itself one of the points never comes to that).
    Points are sorted into cells of the radius' size and compared only with centres of the cells around, a block at a
    time: no [M, N] is held.

    Args:
        x: [N, 3] finite points.
        y: [M, 3] finite centres.
        radius: in metres; a point exactly at this distance is outside.
        k: rows a centre gets.
        batch_x, batch_y: [N], [M] int64 ascending scene of each row; both or none.
        inner: points nearer than this are left out, but not one that is the centre itself (0: a ball; 3DSSD takes
            shells).

    Returns:
        [M, k] int64.

    Raises:
        DataError: shapes that do not fit, values that are not finite, a centre in a scene without points.
        ConfigError: radius not above 0 or k below 1.

    Source: Qi et al., "PointNet++", NeurIPS 2017, section 3.2 ("ball query").
    """
    if not radius > 0 or k < 1:
        raise ConfigError(f"ball_query(radius={radius}, k={k}): expected a radius above 0 and at least 1 row.")
    if (batch_x is None) != (batch_y is None):
        raise DataError("ball_query got a batch vector for one side only; give batch_x and batch_y, or neither.")
    for name, rows, batch in (("x", x, batch_x), ("y", y, batch_y)):
        if rows.dim() != 2 or rows.size(1) != 3 or not bool(torch.isfinite(rows).all()):
            raise DataError(f"ball_query: {name} is {tuple(rows.shape)}; expected finite [rows, 3].")
        if batch is not None and (batch.shape != rows.shape[:1] or bool((batch[1:] < batch[:-1]).any())):
            raise DataError(f"ball_query: batch_{name} must be ascending, one entry for each of {rows.size(0)} rows.")
    batch_x = x.new_zeros(x.size(0), dtype=torch.int64) if batch_x is None else batch_x
    batch_y = y.new_zeros(y.size(0), dtype=torch.int64) if batch_y is None else batch_y
    # Any first row does for scenes without points, since their centres are refused.
    scene_start = torch.searchsorted(batch_x.contiguous(), batch_y.contiguous())
    known = scene_start.clamp(max=max(x.size(0) - 1, 0))
    if y.size(0) and (x.size(0) == 0 or bool((batch_x[known] != batch_y).any())):
        raise DataError("ball_query: a centre lies in a scene that has no point.")
    out = scene_start.unsqueeze(1).repeat(1, k)
    if y.size(0) == 0:
        return out
    order, low, high = _candidates(x, y, radius, batch_x, batch_y)
    total = (high - low).sum(1).cumsum(0)
    start = 0
    while start < y.size(0):
        done = int(total[start - 1]) if start else 0
        end = max(start + 1, int(torch.searchsorted(total, done + BLOCK, right=True)))
        out[start:end] = _first_within(
            x, y[start:end], radius, inner, k, order, low[start:end], high[start:end], out[start:end]
        )
        start = end
    return out


def _candidates(x: Tensor, y: Tensor, radius: float, batch_x: Tensor, batch_y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points in the order of their cells [N], and for each centre the nine runs of that order around it, [M, 9] each.

    Three cells that follow each other along x have consecutive ids, so a 3 x 3 x 3 block of cells is nine runs.
    """
    both = torch.cat([x, y]).double()
    origin, extent = both.amin(0), both.amax(0) - both.amin(0)
    scenes = int(max(batch_x.max(), batch_y.max())) + 1
    size = radius * (1 + _MARGIN)
    while True:
        # A border of empty cells on all sides keeps one row of cells from running into the next.
        width, height, depth = ((extent / size).long() + 3).tolist()
        if scenes * depth * height * width < 2**62:
            break
        size *= 2
    grid = (depth, height, width)
    cell = ((both - origin) / size).long() + 1
    ids = cell_ids(torch.cat([torch.cat([batch_x, batch_y]).unsqueeze(1), cell.flip(1)], 1), grid)
    cells, order = ids[: x.size(0)].sort(stable=True)
    steps = torch.arange(-1, 2, device=x.device)
    around = ids[x.size(0) :, None] + ((steps[:, None] * height + steps) * width).flatten()
    return order, torch.searchsorted(cells, around - 1), torch.searchsorted(cells, around + 1, right=True)


def _first_within(
    x: Tensor, y: Tensor, radius: float, inner: float, k: int, order: Tensor, low: Tensor, high: Tensor, out: Tensor
) -> Tensor:
    """[M, k] for a block of centres `y` and their runs; `out` holds what stands for nothing."""
    length = (high - low).flatten()
    run = torch.repeat_interleave(length)
    place = torch.arange(run.numel(), device=x.device) - (length.cumsum(0) - length)[run]
    row, centre = order[low.flatten()[run] + place], run // low.size(1)
    distance = (x[row] - y[centre]).square().sum(1)
    near = (distance < radius * radius) & ((distance >= inner * inner) | (distance == 0))
    hit = (centre[near] * x.size(0) + row[near]).sort().values
    centre, row = hit // x.size(0), hit % x.size(0)
    count = torch.bincount(centre, minlength=y.size(0))
    some = count > 0
    out = out.clone()
    out[some] = row[table_places(count, k)[some]]
    return out
