"""Farthest point sampling."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from structkd.backends import Backend, Op
from structkd.errors import ConfigError, DataError

#: Points of small scenes that go through together: as many as stay in the caches.
CACHED = 1 << 14


@torch.no_grad()
def farthest_points(x: Tensor, k: int, batch: Tensor | None = None, *, backend: str | None = None) -> Tensor:
    """Rows of points far from one another: each next one is the farthest from those already chosen.

    Starts with the first point of each scene. Deterministic: equal distances go to the lower row. No row is chosen
    twice, even if points coincide.

    Args:
        x: [P, C] finite points; distances are taken in float64.
        k: rows a scene gets, or as many as it has.
        batch: [P] int64 ascending, scene of each point. Default: one scene.
        backend: `numpy` (CPU) or `reference`; both give the same rows.

    Returns:
        [R] int64 rows, scene by scene, within a scene in the order of choice.

    Raises:
        DataError: shapes that do not fit, values that are not finite, a batch vector that is not ascending.
        ConfigError: k below 1.

    Source: Qi et al., "PointNet++", NeurIPS 2017, section 3.2.
    Differences: the usual CUDA kernels may repeat a row where points coincide.
    """
    if k < 1:
        raise ConfigError(f"farthest_points(k={k}): expected at least 1.")
    if x.dim() != 2 or not x.is_floating_point() or not bool(torch.isfinite(x).all()):
        raise DataError(f"farthest_points got {x.dtype} {tuple(x.shape)}; expected finite floating point [P, C].")
    if batch is None:
        ends = [x.size(0)]
    else:
        if batch.shape != x.shape[:1] or bool((batch[1:] < batch[:-1]).any()):
            raise DataError(f"batch must be ascending, one entry for each of {x.size(0)} points.")
        ends = torch.bincount(batch).cumsum(0).tolist()
    return FARTHEST_POINTS(x, k, ends, backend=backend)


def _numpy(x: Tensor, k: int, ends: list[int]) -> Tensor:
    points = x.detach().double().numpy()
    spans = list(zip([0, *ends], ends))
    found: dict[int, np.ndarray] = {}
    # Scenes of one size, such as the regions of a second stage, go through together.
    for size in {end - start for start, end in spans if end > start}:
        equal = [start for start, end in spans if end - start == size]
        step = max(1, CACHED // size)
        for first in range(0, len(equal), step):
            starts = equal[first : first + step]
            rows = _equal_scenes(np.stack([points[start : start + size].T for start in starts], 1), k)
            found |= {start: start + own for start, own in zip(starts, rows)}
    return torch.from_numpy(np.concatenate([np.empty(0, np.int64), *(found[start] for start in sorted(found))]))


def _equal_scenes(axes: np.ndarray, k: int) -> np.ndarray:
    """Rows [S, k] chosen in each of S scenes of n points, from coordinates [C, S, n]."""
    _, scenes, size = axes.shape
    nearest = np.full((scenes, size), np.inf)
    rows = np.zeros((scenes, min(k, size)), np.int64)
    distance, along = np.empty((scenes, size)), np.empty((scenes, size))
    scene = np.arange(scenes)
    for i in range(rows.shape[1]):
        row = rows[:, i]
        if i:
            row[:] = nearest.argmax(1)
        for j, axis in enumerate(axes):
            into = along if j else distance
            np.subtract(axis, axis[scene, row][:, None], out=into)
            np.multiply(into, into, out=into)
            if j:
                np.add(distance, along, out=distance)
        np.minimum(nearest, distance, out=nearest)
        nearest[scene, row] = -1  # farther from nothing than any that is left
    return rows


def _reference(x: Tensor, k: int, ends: list[int]) -> Tensor:
    found = [torch.empty(0, dtype=torch.int64, device=x.device)]
    for start, end in zip([0, *ends], ends):
        axes = x[start:end].double().t().contiguous()
        nearest = axes.new_full((end - start,), float("inf"))
        rows = torch.zeros(min(k, end - start), dtype=torch.int64, device=x.device)
        for i in range(rows.numel()):
            if i:
                rows[i] = nearest.argmax()  # the first of several
            distance = torch.zeros_like(nearest)
            for axis in axes:
                distance += (axis - axis.index_select(0, rows[i : i + 1])).square()
            nearest = torch.minimum(nearest, distance).index_fill(0, rows[i : i + 1], -1)
        found.append(start + rows)
    return torch.cat(found)


def _only_cpu(x: Tensor | None = None, *arguments: object) -> list[str]:
    return [f"NumPy reads no tensor on {x.device}"] if x is not None and x.device.type != "cpu" else []


#: Both take points [P, C], the rows of a scene and where each scene ends, and return rows.
FARTHEST_POINTS = Op("farthest_points", [Backend("numpy", _numpy, _only_cpu), Backend("reference", _reference)])
