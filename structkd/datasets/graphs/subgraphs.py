"""The part of a graph around some nodes, with ids of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from structkd.ops.csr import CSR
from structkd.ops.sampling import sample_neighbors


class RowLookup:
    """Turns node ids into rows of a batch in time and memory of the batch: its table is kept from batch to batch."""

    def __init__(self, num_nodes: int) -> None:
        self._row = torch.full((num_nodes,), -1)

    def rows(self, first: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """The nodes of a batch and its edges in rows of it.

        Args:
            first: [n] distinct ids, which become rows 0 to n - 1.
            edges: [2, E] ids.

        Returns:
            ids [M] (`first`, then the other endpoints, ascending) and edges [2, E] in rows.
        """
        self._row[first] = torch.arange(first.numel())
        others = edges[self._row[edges] < 0].unique()
        ids = torch.cat([first, others])
        self._row[others] = torch.arange(first.numel(), ids.numel())
        local = self._row[edges]
        self._row[ids] = -1
        return ids, local
