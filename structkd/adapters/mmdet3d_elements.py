"""Sparse sets inside mmdet3d's detectors: rows of voxels, sparse tensors and sampled points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from structkd.errors import WiringError


def read_elements(output: Any, model: nn.Module, inputs: Mapping[str, Any], place: str) -> dict[str, Tensor]:
    """What a module gave as `x` [N, C], `pos` [N, 3] (m), `batch` [N], `n_id` [N] and, of whole voxels, `importance`.

    Args:
        output: one of
            - rows [V, C], one a voxel of the batch (hard voxelisation), or rows and their cells [V, 4] (dynamic);
            - a sparse tensor (`features`, `indices`, `spatial_shape`): rows are put in the order of cells, so that
              two networks agree on it;
            - a neck's dict of `fp_xyz` [B, N, 3] and `fp_features` [B, C, N], or what a set abstraction gives: places,
              features and row of each point in the level before.
        model: the detector, whose data preprocessor knows the grid.
        inputs: what the data preprocessor gave.
        place: where the output comes from, for errors.

    Raises:
        WiringError: an output of another kind.
    """
    if isinstance(output, Mapping) and "fp_features" in output:
        return _points(output["fp_xyz"], output["fp_features"], None)
    if hasattr(output, "indices") and hasattr(output, "spatial_shape"):
        cells, shape = output.indices.long(), [int(size) for size in output.spatial_shape]
        order = _linear(cells, shape).argsort()
        return _cells(output.features[order], cells[order], shape, model)
    if isinstance(output, (tuple, list)) and len(output) == 3 and all(isinstance(part, Tensor) for part in output):
        return _points(*output)
    voxels = inputs.get("voxels")
    rows = output[0] if isinstance(output, (tuple, list)) else output
    if voxels is None or not isinstance(rows, Tensor) or rows.dim() != 2:
        what = tuple(rows.shape) if isinstance(rows, Tensor) else type(output).__name__
        raise WiringError(
            f"{place} of {type(model).__name__} gives {what}, which is no set of elements; expected rows of voxels, a "
            "sparse tensor, or sampled points with their places."
        )
    cells = voxels["coors"].long()
    shape = _grid(model)
    if isinstance(output, (tuple, list)):  # dynamic: cells come with their features, points are counted here
        found = output[1].long()
        ids, count = _linear(cells[(cells >= 0).all(1)], shape).unique(return_counts=True)
        importance = count[torch.searchsorted(ids, _linear(found, shape))]
        return _cells(rows, found, shape, model) | {"importance": importance.to(torch.float32)}
    if len(rows) != len(cells):
        raise WiringError(f"{place} gives {len(rows)} rows for {len(cells)} voxels; expected one a voxel.")
    return _cells(rows, cells, shape, model) | {"importance": voxels["num_points"].to(torch.float32)}


def point_range(model: nn.Module) -> tuple[float, ...] | None:
    """x0, y0, z0, x1, y1, z1 in metres of the detector's grid; None where it has none."""
    layer = getattr(getattr(model, "data_preprocessor", None), "voxel_layer", None)
    return None if layer is None else tuple(float(value) for value in layer.point_cloud_range)


def _grid(model: nn.Module) -> list[int]:
    """D, H, W of the grid."""
    preprocessor: Any = model.data_preprocessor
    limits, size = point_range(model), preprocessor.voxel_layer.voxel_size
    assert limits is not None
    return [round((limits[axis + 3] - limits[axis]) / float(size[axis])) for axis in (2, 1, 0)]


def _linear(cells: Tensor, shape: list[int]) -> Tensor:
    scene, z, y, x = cells.unbind(1)
    return ((scene * shape[0] + z) * shape[1] + y) * shape[2] + x


def _cells(rows: Tensor, cells: Tensor, shape: list[int], model: nn.Module) -> dict[str, Tensor]:
    limits = torch.tensor(point_range(model), dtype=torch.float32, device=rows.device)
    size = (limits[3:] - limits[:3]) / torch.tensor(shape[::-1], dtype=torch.float32, device=rows.device)
    pos = (cells[:, [3, 2, 1]] + 0.5) * size + limits[:3]
    return {"x": rows, "pos": pos, "batch": cells[:, 0], "n_id": _linear(cells, shape)}


def _points(places: Tensor, features: Tensor, index: Tensor | None) -> dict[str, Tensor]:
    scenes, channels, count = features.shape
    if index is None:
        index = torch.arange(count, device=features.device).expand(scenes, -1)
    scene = torch.arange(scenes, device=features.device).repeat_interleave(count)
    return {
        "x": features.transpose(1, 2).reshape(-1, channels),
        "pos": places.reshape(-1, 3),
        "batch": scene,
        # Rows of the level before: two networks that sampled alike have the same, whatever its size.
        "n_id": (scene << 32) + index.reshape(-1).long(),
    }
