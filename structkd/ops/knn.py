"""Nearest neighbours by tiles: never a distance matrix of all against all."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from structkd.errors import ConfigError, DataError

#: From this many coordinates on, distances are made of products instead of differences, several times faster.
WIDE = 32
#: Queries compared at once, so that a tile stays in the caches: with many columns the nearest are found in one go.
ROWS = 128
#: Fewest groups of columns whose minima bound the distance of the nearest.
GROUPS = 256


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
) -> tuple[Tensor, Tensor]:
    """The `k` nearest rows of `x` for each query.

    Deterministic: equal distances go to the lower row number, whatever `block` is (as far as rounding lets equal
    distances come out equal; up to 32 coordinates it does).

    Args:
        x: [N, C] points to choose from; finite floating point.
        k: neighbours a query gets, or as many as there are.
        y: [M, C] queries. Default: the rows of `x`.
        batch_x, batch_y: [N], [M] sample of each row, ascending; neighbours are of the same sample. Both or none with
            `y`; without `y` `batch_x` serves for both.
        metric: "euclidean", or "cosine" for 1 - cos (a zero vector is at distance 1 of everything).
        loop: without `y`, whether a row may be its own neighbour.
        block: largest number of rows of `x` compared at once, with 128 queries; a few [128, block] arrays are held.

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
    points, queries, distances, finish = _prepare(x, y, metric)
    found_index, found_distance = [], []
    height = min(block, ROWS)
    for top in range(0, y.size(0), height):
        rows = torch.arange(top, min(top + height, y.size(0)), device=x.device)
        low, high = 0, x.size(0)
        if batch_x is not None and batch_y is not None:
            ends = torch.stack([batch_y[rows[0]], batch_y[rows[-1]] + 1])
            low, high = torch.searchsorted(batch_x.contiguous(), ends).tolist()
        best = queries.new_empty(rows.numel(), 0)
        best_id = rows.new_empty(rows.numel(), 0)
        for left in range(low, high, block):
            columns = torch.arange(left, min(left + block, high), device=x.device)
            tile = distances(queries[top : top + height], points[left : left + columns.numel()])
            if alone and not loop:
                tile.masked_fill_(rows.unsqueeze(1) == columns, float("inf"))
            if batch_x is not None and batch_y is not None:
                tile.masked_fill_(batch_y[rows].unsqueeze(1) != batch_x[columns], float("inf"))
            tile, ids = _promising(tile, columns, best, k)
            best, best_id = _nearest(torch.cat([best, tile.clamp_(min=0)], 1), torch.cat([best_id, ids], 1), k)
        best, order = torch.sort(finish(best), dim=1, stable=True)
        there = best.isfinite()
        query = rows.unsqueeze(1).expand_as(best)
        found_index.append(torch.stack([query[there], best_id.gather(1, order)[there]]))
        found_distance.append(best[there])
    if not found_index:
        return torch.empty(2, 0, dtype=torch.long, device=x.device), x.new_empty(0)
    return torch.cat(found_index, 1), torch.cat(found_distance).to(x.dtype)


def _promising(tile: Tensor, columns: Tensor, best: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """What of a tile may be among the `k` nearest, with ids: a far narrower array, filled up with infinity.

    To choose from few is what makes it fast. Once there are k, only what is closer than the last of them counts; before
    that, the k-th smallest of the minima of 2k or more groups of columns is a bound that at least k columns keep to.
    """
    groups = max(2 * k, GROUPS)
    if tile.size(1) < 2 * groups:
        return tile, columns.expand_as(tile)
    if best.size(1) == k:
        there = tile < best.amax(1, keepdim=True)
    else:
        minima = tile[:, : tile.size(1) // groups * groups].unflatten(1, (-1, groups)).amin(1)
        there = tile <= minima.kthvalue(k, dim=1, keepdim=True).values
    found = there.flatten().nonzero().flatten()
    row = found.div(tile.size(1), rounding_mode="floor")
    count = torch.bincount(row, minlength=tile.size(0))
    width = int(count.max()) if count.numel() else 0
    # Each row's finds close ranks: they move from where they stand among all finds to the start of their row.
    gap = torch.arange(tile.size(0), device=tile.device) * width - (count.cumsum(0) - count)
    place = torch.arange(found.numel(), device=tile.device) + gap.repeat_interleave(count, output_size=found.numel())
    packed = tile.new_full((tile.size(0), width), float("inf")).put_(place, tile.take(found))
    ids = columns.new_zeros(packed.shape).put_(place, found - row * tile.size(1) + columns[:1])
    return packed, ids


def _nearest(distance: Tensor, ids: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` smallest distances of each row with their ids, in the order of the columns.

    Columns are in ascending order of ids, so among equal distances the first are taken; `topk` would take any.
    """
    if distance.size(1) <= k:
        return distance, ids
    last = distance.topk(k, dim=1, largest=False).values.amax(1, keepdim=True)
    closer, equal = distance < last, distance == last
    room = k - closer.sum(1, keepdim=True)
    chosen = closer | (equal & (equal.cumsum(1) <= room))
    place = chosen.flatten().nonzero().view(-1, k)
    return distance.take(place), ids.take(place)


def _prepare(
    x: Tensor, y: Tensor, metric: str
) -> tuple[Tensor, Tensor, Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Points, queries, what to compare rows of them by, and what makes a distance of that."""
    dtype = torch.float64 if x.size(1) > WIDE else torch.promote_types(x.dtype, torch.float32)
    points, queries = x.to(dtype), y.to(dtype)
    if metric == "cosine":
        points, queries = (torch.nn.functional.normalize(rows, dim=1) for rows in (points, queries))
        return points, queries, _cosine, torch.clone
    if metric != "euclidean":
        raise ConfigError(f"metric is '{metric}'; expected 'euclidean' or 'cosine'.")
    if x.size(1) <= WIDE:
        return points, queries, _by_differences, torch.clone
    # |q - p|^2 = <(-2 q, |q|^2, 1), (p, 1, |p|^2)>, in float64, where what cancels between near rows does not matter.
    one = points.new_ones(1)
    points = torch.cat([points, one.expand(x.size(0), 1), points.square().sum(1, keepdim=True)], 1)
    queries = torch.cat([-2 * queries, queries.square().sum(1, keepdim=True), one.expand(y.size(0), 1)], 1)
    return points, queries, _by_products, torch.sqrt


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return 1 - a @ b.t()


def _by_differences(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _by_products(a: Tensor, b: Tensor) -> Tensor:
    return a @ b.t()


def _check(x: Tensor, y: Tensor, batch_x: Tensor | None, batch_y: Tensor | None) -> None:
    if x.dim() != 2 or y.dim() != 2 or x.size(1) != y.size(1):
        raise DataError(f"knn got points {tuple(x.shape)} and queries {tuple(y.shape)}; expected [N, C] and [M, C].")
    if (batch_x is None) != (batch_y is None):
        raise DataError("knn got a batch vector for one side only; give batch_x and batch_y, or neither.")
    for name, rows, batch in (("x", x, batch_x), ("y", y, batch_y)):
        if not bool(torch.isfinite(rows).all()):
            raise DataError(f"knn: {name} holds NaN or infinity; every coordinate must be finite.")
        if batch is None:
            continue
        if batch.shape != rows.shape[:1] or bool((batch[1:] < batch[:-1]).any()):
            raise DataError(f"knn: batch_{name} must be ascending, one entry for each of {rows.size(0)} rows.")
