"""A graph as a config names it: the reader, then transforms of its features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from structkd.engine.registry import DATASETS, build
from structkd.errors import ConfigError, nearest


def read_graph(dataset: Mapping[str, Any], transforms: Sequence[str] = ()) -> Data:
    """What `data.dataset` describes, with the named transforms applied to its `x`, one after another."""
    graph = build(DATASETS, dataset, "data.dataset")
    for name in transforms:
        if name not in TRANSFORMS:
            raise ConfigError(f"data.transforms: there is no transform '{name}'. {nearest(name, TRANSFORMS)}")
        graph.x = TRANSFORMS[name](graph.x)
    return graph


def row_normalize(x: Tensor) -> Tensor:
    """Rows divided by their sum; rows that sum to zero stay as they are. Dense or sparse CSR."""
    if x.layout == torch.sparse_csr:
        counts = x.crow_indices().diff()
        rows = torch.repeat_interleave(torch.arange(x.size(0)), counts)
        sums = torch.zeros(x.size(0), dtype=x.dtype).index_add_(0, rows, x.values())
        values = x.values() / sums.where(sums != 0, torch.ones_like(sums))[rows]
        return torch.sparse_csr_tensor(x.crow_indices(), x.col_indices(), values, x.shape)
    sums = x.sum(1, keepdim=True)
    return x / sums.where(sums != 0, torch.ones_like(sums))


TRANSFORMS = {"row_normalize": row_normalize}
