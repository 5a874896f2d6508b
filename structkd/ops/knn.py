"""Nearest neighbours by tiles: never a distance matrix of all against all."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.backends import Backend, Op
from structkd.errors import ConfigError, DataError
from structkd.ops.triton.launch import refusals

#: With more coordinates than these, products are several times faster than differences.
WIDE = 32
_BY_DIFFERENCES = "donot_use_mm_for_euclid_dist"
#: Queries compared at once, so that a tile stays in the caches: with many columns the nearest are found in one go.
ROWS = 128
#: Fewest groups of columns whose minima bound the distance of the nearest.
GROUPS = 64
#: Up to so many times the columns that are asked for are sorted at once; of more the nearest are chosen first.
SORTED = 4
#: Most numbers that are gathered at once to measure distances of what is near.
GATHERED = 1 << 22
#: Neighbours that the kernel has room for.
MOST = 256


@torch.no_grad()
def knn(
    x: Tensor,
    k: int,
    y: Tensor | None = None,
    batch_x: Tensor | None = None,
    batch_y: Tensor | None = None,
    metric: str = "euclidean",
    loop: bool = False,
    block: int = 16384,
    *,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """The `k` nearest rows of `x` for each query.

    Deterministic: equal distances go to the lower row number, whatever `block` is (as far as rounding lets equal
    distances come out equal).

    Args:
        x: [N, C] points to choose from; finite floating point.
        k: neighbours a query gets, or as many as there are.
        y: [M, C] queries. Default: the rows of `x`.
        batch_x, batch_y: [N], [M] sample of each row, ascending; neighbours are of the same sample. Both or none with
            `y`; without `y` `batch_x` serves for both.
        metric: "euclidean", or "cosine" for 1 - cos (a zero vector is at distance 1 of everything).
        loop: without `y`, whether a row may be its own neighbour.
        block: largest number of rows of `x` compared at once by `tiled`, with 128 queries; a few [128, block] arrays
            are held.
        backend: `triton` (CUDA; no distance is written, up to 256 neighbours, measured in float32) or `tiled`.

    Returns:
        index: [2, R] rows (query, neighbour), grouped by query and nearest first; R = M k where every query finds k
            neighbours. As edges that run from neighbour to query, this is `(dst, src)`: flip it.
        distance: [R] in the dtype of `x`, without gradient.

    Raises:
        DataError: shapes that do not fit, values that are not finite, a batch vector that is not ascending.
        ConfigError: unknown metric, or k or block below 1.
    """
    if k < 1 or block < 1:
        raise ConfigError(f"knn(k={k}, block={block}): expected at least 1 of each.")
    alone = y is None
    y, batch_y = (x, batch_x) if y is None else (y, batch_y)
    _check(x, y, batch_x, batch_y)
    if metric not in ("euclidean", "cosine"):
        raise ConfigError(f"metric is '{metric}'; expected 'euclidean' or 'cosine'.")
    return KNN(x, y, k, batch_x, batch_y, metric, alone and not loop, block, backend=backend)


def _triton(
    x: Tensor, y: Tensor, k: int, batch_x: Tensor | None, batch_y: Tensor | None, metric: str, others: bool, block: int
) -> tuple[Tensor, Tensor]:
    from structkd.ops.triton.knn import nearest

    dtype = x.dtype
    if metric == "cosine":
        x, y = _unit(x, 0), _unit(y, 1)
    index, distance = nearest(x, y, k, batch_x, batch_y, others)
    if metric == "cosine":
        distance = distance.square() / 2  # of unit vectors
    query = torch.arange(y.size(0), device=x.device).repeat_interleave(k, output_size=index.numel())
    pairs, distance = torch.stack([query, index.flatten()]), distance.flatten().to(dtype)
    if batch_x is None and x.size(0) - others >= k:
        return pairs, distance  # all are there, which is known without looking
    there = pairs[1] >= 0
    return pairs[:, there], distance[there]


def _unit(rows: Tensor, side: int) -> Tensor:
    """Rows of length 1; one of zeros points where nothing of the other side does, at distance 1 of everything."""
    rows = rows.float()
    zero = (rows == 0).all(1, keepdim=True)
    further = torch.zeros(2, device=rows.device)
    further[side] = 1
    return torch.cat([torch.nn.functional.normalize(rows, dim=1), zero * further], 1)


def _no_triton(x: Tensor | None = None, y: Tensor | None = None, k: int = 1, *rest: object) -> list[str]:
    reasons = refusals(x, y, dtypes=(torch.float16, torch.bfloat16, torch.float32))
    if x is not None and not reasons:
        if k > MOST:
            reasons.append(f"{k} neighbours are more than {MOST}")
        if x.size(0) >= 2**31:
            reasons.append(f"{x.size(0)} rows are too many for a key")
    return reasons


def _tiled(
    x: Tensor, y: Tensor, k: int, batch_x: Tensor | None, batch_y: Tensor | None, metric: str, others: bool, block: int
) -> tuple[Tensor, Tensor]:
    space = _Space(x, y, metric)
    narrowed = max(4 * k, 8 * GROUPS)  # columns from which on such a bound is worth it
    found_index, found_distance = [], []
    height = min(block, ROWS)
    for top in range(0, y.size(0), height):
        rows = torch.arange(top, min(top + height, y.size(0)), device=x.device)
        low, high = 0, x.size(0)
        if batch_x is not None and batch_y is not None:
            ends = torch.stack([batch_y[rows[0]], batch_y[rows[-1]] + 1])
            low, high = torch.searchsorted(batch_x.contiguous(), ends).tolist()
        best = space.y.new_empty(rows.numel(), 0)
        best_id = rows.new_empty(rows.numel(), 0)
        for left in range(low, high, block):
            columns = torch.arange(left, min(left + block, high), device=x.device)
            narrow = columns.numel() >= narrowed
            estimated = narrow and space.estimates
            area = slice(top, top + rows.numel()), slice(left, left + columns.numel())
            tile = space.estimate(*area) if estimated else space.distance(rows, columns)
            if others:
                tile.masked_fill_(rows.unsqueeze(1) == columns, float("inf"))
            if batch_x is not None and batch_y is not None:
                tile.masked_fill_(batch_y[rows].unsqueeze(1) != batch_x[columns], float("inf"))
            ids = columns.expand_as(tile)
            if narrow:
                tile, ids = _packed(tile, columns, _limit(tile, best, k, space.slack(rows) if estimated else None))
            if estimated:
                tile = space.distance(rows, ids).masked_fill_(tile.isinf(), float("inf"))
            best, best_id = _nearest(torch.cat([best, tile], 1), torch.cat([best_id, ids], 1), k)
        pairs = torch.stack([rows.unsqueeze(1).expand_as(best), best_id])
        there = best.isfinite()
        everywhere = bool(there.all())
        found_index.append(pairs.flatten(1) if everywhere else pairs[:, there])
        found_distance.append(best.flatten() if everywhere else best[there])
    if not found_index:
        return torch.empty(2, 0, dtype=torch.long, device=x.device), x.new_empty(0)
    return torch.cat(found_index, 1), torch.cat(found_distance).to(x.dtype)


class _Space:
    """Distances between queries and points.

    Euclidean ones are made of differences, which tells near rows apart in any precision. With many coordinates that is
    slow, and products only lose the last digits: there products say who may be near, differences who is.
    """

    def __init__(self, x: Tensor, y: Tensor, metric: str) -> None:
        wide, self.cosine = x.size(1) > WIDE, metric == "cosine"
        self.estimates = wide and not self.cosine
        dtype = torch.float64 if wide and self.cosine else torch.promote_types(x.dtype, torch.float32)
        self.x, self.y = x.to(dtype), y.to(dtype)
        if self.cosine:
            self.x, self.y = (torch.nn.functional.normalize(rows, dim=1) for rows in (self.x, self.y))
        elif self.estimates:
            # |q - p|^2 = <(-2 q, |q|^2, 1), (p, 1, |p|^2)>, about the middle, where least of it cancels.
            exact = dtype == torch.float64 or torch.get_float32_matmul_precision() == "highest"
            middle = self.x.mean(0) if len(x) else 0
            p, q = ((rows - middle).to(dtype if exact else torch.float64) for rows in (self.x, self.y))
            pp, qq = (rows.square().sum(1, keepdim=True) for rows in (p, q))
            p = torch.cat([p, torch.ones_like(pp), pp], 1).t().contiguous()
            self.factors = torch.cat([-2 * q, qq, torch.ones_like(qq)], 1), p
            # How far off an estimate can be, from the error bound of a dot product; doubled, and doubled again.
            largest = pp.amax() if len(x) else 0
            self.error = 8 * (x.size(1) + 4) * torch.finfo(dtype).eps * (qq + largest)

    def distance(self, rows: Tensor, columns: Tensor) -> Tensor:
        """[R, M] of queries `rows` [R] to points `columns`, [M] or for each query its own [R, M]."""
        if self.cosine:
            with torch.autocast(self.x.device.type, enabled=False):
                return (1 - self.y[rows] @ self.x[columns].t()).clamp_(min=0)
        if columns.dim() == 1:
            return torch.cdist(self.y[rows], self.x[columns], compute_mode=_BY_DIFFERENCES)
        # In parts, for where many points are equal, as the empty cells of a map are, all of them are among the near.
        found = []
        for part in columns.split(max(1, GATHERED // max(rows.numel() * self.x.size(1), 1)), 1):
            points = self.x.index_select(0, part.flatten()).view(*part.shape, self.x.size(1))
            found.append(torch.cdist(self.y[rows].unsqueeze(1), points, compute_mode=_BY_DIFFERENCES).squeeze(1))
        return torch.cat(found, 1) if found else self.y.new_empty(columns.shape)

    def estimate(self, rows: slice, columns: slice) -> Tensor:
        """[R, M] of their squares, off by no more than half of `slack`."""
        q, p = self.factors
        with torch.autocast(q.device.type, enabled=False):
            return q[rows] @ p[:, columns]

    def slack(self, rows: Tensor) -> Tensor:
        return self.error[rows]


def _limit(tile: Tensor, best: Tensor, k: int, slack: Tensor | None) -> Tensor:
    """[R, 1] what none of the `k` nearest exceeds, in a tile of distances or (with `slack`) of estimated squares.

    Once there are k, the last of them; before that, the k-th smallest of the minima of 2k or more groups of columns,
    which at least k columns keep to.
    """
    if best.size(1) == k:
        last = best.amax(1, keepdim=True)
        return last if slack is None else last.square() + slack
    groups = max(2 * k, GROUPS)
    minima = tile[:, : tile.size(1) // groups * groups].unflatten(1, (-1, groups)).amin(1)
    last = minima.kthvalue(k, dim=1, keepdim=True).values
    return last if slack is None else last + slack


def _packed(tile: Tensor, columns: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
    """What of each row keeps to its limit, with ids: a far narrower array to choose from, filled up with infinity."""
    found = _true(tile <= limit)
    row = found.div(tile.size(1), rounding_mode="floor")
    count = torch.bincount(row, minlength=tile.size(0))
    width = int(count.max()) if count.numel() else 0
    # Each row's finds close ranks: they move from where they stand among all finds to the start of their row.
    gap = torch.arange(tile.size(0), device=tile.device) * width - (count.cumsum(0) - count)
    place = torch.arange(found.numel(), device=tile.device) + gap.repeat_interleave(count, output_size=found.numel())
    packed = tile.new_full((tile.size(0), width), float("inf")).put_(place, tile.take(found))
    ids = columns.new_zeros(packed.shape).put_(place, found - row * tile.size(1) + columns[:1])
    return packed, ids


def _true(mask: Tensor) -> Tensor:
    """Where a mask with few true entries has them, counted row by row: by eights first, in a tenth of the time."""
    mask = mask.flatten()
    whole = mask.numel() // 8 * 8
    eights = mask[:whole].view(torch.int64)
    some = eights.nonzero()
    place = eights[some[:, 0]].view(torch.bool).nonzero().flatten()
    found = some.flatten()[place // 8] * 8 + place % 8
    return torch.cat([found, whole + mask[whole:].nonzero().flatten()])


def _nearest(distance: Tensor, ids: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` smallest distances of each row with their ids, nearest first.

    Columns are in ascending order of ids where distances are equal, so the first of them are taken; `topk` would take
    any.
    """
    if distance.size(1) > SORTED * k:
        last = distance.topk(k, dim=1, largest=False).values.amax(1, keepdim=True)
        closer, equal = distance < last, distance == last
        room = k - closer.sum(1, keepdim=True)
        chosen = closer | (equal & (equal.cumsum(1) <= room))
        place = chosen.flatten().nonzero().view(-1, k)
        distance, ids = distance.take(place), ids.take(place)
    distance, order = torch.sort(distance, dim=1, stable=True)
    return distance[:, :k], ids.gather(1, order[:, :k])


def _check(x: Tensor, y: Tensor, batch_x: Tensor | None, batch_y: Tensor | None) -> None:
    if x.dim() != 2 or y.dim() != 2 or x.size(1) != y.size(1):
        raise DataError(f"knn got points {tuple(x.shape)} and queries {tuple(y.shape)}; expected [N, C] and [M, C].")
    if (batch_x is None) != (batch_y is None):
        raise DataError("knn got a batch vector for one side only; give batch_x and batch_y, or neither.")
    if torch.compiler.is_compiling():
        return  # there are no values to look at
    for name, rows, batch in (("x", x, batch_x), ("y", y, batch_y)):
        if not bool(torch.isfinite(rows).all()):
            raise DataError(f"knn: {name} holds NaN or infinity; every coordinate must be finite.")
        if batch is None:
            continue
        if batch.shape != rows.shape[:1] or bool((batch[1:] < batch[:-1]).any()):
            raise DataError(f"knn: batch_{name} must be ascending, one entry for each of {rows.size(0)} rows.")


KNN = Op("knn", [Backend("triton", _triton, _no_triton), Backend("tiled", _tiled)])
