"""Features of points from their three nearest among others: how PointNet++ goes back to finer levels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from structkd.errors import DataError
from structkd.ops.knn import knn
from structkd.ops.ragged import table_places

#: Added to distances before they are inverted, in metres.
EPS = 1e-8


@torch.no_grad()
def three_nn(
    x: Tensor, y: Tensor, batch_x: Tensor | None = None, batch_y: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The three rows of `x` nearest to each row of `y`.

    On the CPU a k-d tree finds them (tens of times as fast as comparing all), and `knn` where the fourth is as near
    as the third; so equal distances go to the lower row everywhere.

    Args:
        x: [N, 3] finite points to choose from.
        y: [M, 3] finite queries.
        batch_x, batch_y: [N], [M] int64 ascending scene of each row; both or none.

    Returns:
        index: [M, 3] int64 rows of `x`, nearest first; a scene of fewer points repeats the nearest.
        distance: [M, 3] in metres, in the dtype of `x`.

    Raises:
        DataError: as `knn`, or a query in a scene without points.
    """
    if x.device.type == "cpu":
        return _by_tree(x, y, batch_x, batch_y)
    return _by_knn(x, y, batch_x, batch_y)


def three_interpolate(x: Tensor, index: Tensor, distance: Tensor) -> Tensor:
    """Mean of three rows each, weighted by inverse distance; differentiable in `x`.

    Args:
        x: [N, C] features.
        index, distance: [M, 3], from `three_nn`.

    Returns:
        [M, C] in the dtype of `x`.

    Source: Qi et al., "PointNet++", NeurIPS 2017, eq. 2.
    Differences: eq. 2 has squared distances; mmdet3d and OpenPCDet use plain ones plus 1e-8, as here.
    """
    if index.shape != distance.shape or index.dim() != 2 or index.size(1) != 3:
        raise DataError(f"Got index {tuple(index.shape)} and distance {tuple(distance.shape)}; expected [M, 3] twice.")
    weight = 1 / (distance + EPS)
    weight = (weight / weight.sum(1, keepdim=True)).to(x.dtype)
    # index_select's gradient is an index_add, which is deterministic on the CPU; that of x[index] is not.
    parts = [x.index_select(0, index[:, j]) * weight[:, j : j + 1] for j in range(3)]
    return parts[0] + parts[1] + parts[2]


def _by_knn(x: Tensor, y: Tensor, batch_x: Tensor | None, batch_y: Tensor | None) -> tuple[Tensor, Tensor]:
    (query, found), distance = knn(x, 3, y, batch_x, batch_y)
    count = torch.bincount(query, minlength=y.size(0))
    if bool((count == 0).any()):
        raise DataError("three_nn: a query lies in a scene that has no point.")
    pick = table_places(count, 3)
    return found[pick], distance[pick]


def _by_tree(x: Tensor, y: Tensor, batch_x: Tensor | None, batch_y: Tensor | None) -> tuple[Tensor, Tensor]:
    from scipy.spatial import cKDTree

    index = torch.empty(y.size(0), 3, dtype=torch.int64)
    distance = x.new_empty(y.size(0), 3)
    unsure = torch.ones(y.size(0), dtype=torch.bool)
    for (low, high), (top, bottom) in zip(_spans(x, batch_x, batch_y), _spans(y, batch_y, batch_x)):
        if high - low < 4 or bottom == top:
            continue
        tree = cKDTree(x[low:high].double().numpy(), balanced_tree=False)
        far, row = tree.query(y[top:bottom].double().numpy(), k=4)
        # Two of the three at one distance are put in the order of their rows.
        order = np.lexsort((row[:, :3], far[:, :3]), axis=1)
        index[top:bottom] = torch.from_numpy(np.take_along_axis(row, order, 1)) + low
        distance[top:bottom] = torch.from_numpy(np.take_along_axis(far, order, 1)).to(x.dtype)
        unsure[top:bottom] = torch.from_numpy(far[:, 3] <= far[:, 2])
    if bool(unsure.any()):
        scene = None if batch_y is None else batch_y[unsure]
        index[unsure], distance[unsure] = _by_knn(x, y[unsure], batch_x, scene)
    return index, distance


def _spans(rows: Tensor, batch: Tensor | None, other: Tensor | None) -> list[tuple[int, int]]:
    """Where each scene begins and ends."""
    if batch is None or other is None:
        return [(0, rows.size(0))]
    scenes = int(max(batch.max() if batch.numel() else -1, other.max() if other.numel() else -1)) + 1
    ends = torch.bincount(batch, minlength=scenes).cumsum(0).tolist()
    return list(zip([0, *ends], ends))
