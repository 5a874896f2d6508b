"""The part of a graph around some nodes, with ids of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from structkd.ops.csr import CSR
from structkd.ops.mapped import MappedCSR
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


def sample_subgraph(
    csr: CSR | MappedCSR, seeds: Tensor, fanouts: Sequence[int], lookup: RowLookup, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The in-neighbourhood of `seeds`, sampled hop by hop; every node is expanded once, where it is first met.

    Args:
        csr: edges grouped by target, in memory or in mapped files.
        seeds: [n] distinct ids.
        fanouts: in-edges a node in each hop, -1 = all.
        lookup: for the ids of `csr`.
        generator: source of randomness.

    Returns:
        ids [M] (seeds in front) and edges [2, E] in rows, those of the first hop first.
    """
    met, frontier, edges = seeds, seeds, [seeds.new_empty(2, 0)]
    for fanout in fanouts:
        if isinstance(csr, MappedCSR):  # the same draws, from a copy of these rows
            rows = torch.arange(frontier.numel())
            source, target, _ = sample_neighbors(csr.rows(frontier), rows, fanout, generator)
        else:
            source, target, _ = sample_neighbors(csr, frontier, fanout, generator)
        edges.append(torch.stack([source, frontier[target]]))
        frontier = source.unique()
        frontier = frontier[~torch.isin(frontier, met)]
        met = torch.cat([met, frontier])
    return lookup.rows(seeds, torch.cat(edges, 1))
