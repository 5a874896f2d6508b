"""mmcv's sparse tensors made dense, without the indexing by a list that torch has announced to read otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from mmcv_ops.hooks import when_imported


def scatter_nd(indices: Tensor, updates: Tensor, shape: Sequence[int]) -> Tensor:
    """Zeros of `shape` [D0, D1, ..., C] with the rows `updates` [V, C] at the places `indices` [V, D]."""
    places = tuple(indices.reshape(-1, indices.size(-1)).t())
    rows = updates.reshape(-1, *shape[indices.size(-1) :])
    return updates.new_zeros(tuple(shape)).index_put(places, rows)


def _replace(module: Any) -> None:
    module.scatter_nd = scatter_nd


def mend_dense() -> None:
    """Arrange for it, whenever mmcv's sparse tensors are imported."""
    when_imported("mmcv.ops.sparse_structure", _replace)
