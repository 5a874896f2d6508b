"""NodeData: a graph under a split, and what of it training may see."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor
from torch_geometric.data import Data

from structkd.datasets.graphs.build import check_graph
from structkd.datasets.graphs.disk import DiskGraph
from structkd.datasets.graphs.protocols import Split
from structkd.errors import ConfigError
from structkd.ops.csr import CSR, csr_of
from structkd.ops.mapped import MappedCSR
from structkd.ops.sparse_features import take_rows


class NodeData:
    """A graph and its split. Training reads `observed`, evaluation reads `graph`.

    Args:
        graph: `Data` with `x` [N, F] (dense or sparse CSR), `edge_index` [2, E], `y` [N] or [N, K].
        split: global ids.

    Attributes:
        graph: the full graph with all labels.
        split: the ids.
    """

    def __init__(self, graph: Data, split: Split) -> None:
        self.graph = check_graph(graph, "The graph")
        self.split = split.check(graph.x.size(0))

    def train_labels(self) -> Tensor:
        """`y` of the full graph with -1 everywhere except on the training nodes."""
        y = torch.full_like(self.graph.y, -1)
        y[self.split.train] = self.graph.y[self.split.train]
        return y

    @cached_property
    def observed(self) -> Data:
        """The graph without the held-out nodes and every edge at one of them; all of it when transductive.

        `Data` with `x`, `edge_index` (rows of `observed`), `n_id` (global ids, ascending) and `y`, where only
        training nodes have a label: validation and test labels are read from `graph`, by `n_id`.
        """
        graph, split = self.graph, self.split
        nodes, labels = graph.x.size(0), self.train_labels()
        if not split.inductive:
            return Data(x=graph.x, edge_index=graph.edge_index, y=labels, n_id=torch.arange(nodes))
        seen = torch.ones(nodes, dtype=torch.bool)
        seen[split.ind] = False
        n_id = seen.nonzero().view(-1)
        row = torch.full((nodes,), -1)
        row[n_id] = torch.arange(n_id.numel())
        edges = graph.edge_index
        edges = row[edges[:, seen[edges[0]] & seen[edges[1]]]]
        return Data(x=take_rows(graph.x, n_id), edge_index=edges, y=labels[n_id], n_id=n_id)

    @property
    def csr(self) -> CSR | MappedCSR:
        """The edges of `observed` by target."""
        return csr_of(self.observed.edge_index, self.observed.n_id.numel())

    def __repr__(self) -> str:
        sizes = {name: ids.numel() for name, ids in vars(self.split).items()}
        return f"NodeData(nodes={self.graph.x.size(0)}, edges={self.graph.edge_index.size(1)}, {sizes})"


class DiskNodeData(NodeData):
    """A graph on disk under a split: what `NodeBatches` needs, with features and edges left where they are.

    `observed` has `x` (mapped), `n_id` and `y`, but no `edge_index`; the edges are `csr`.

    Args:
        disk: the graph.
        split: global ids; transductive, because the edges of held-out nodes would have to be taken out of the files.

    Raises:
        ConfigError: an inductive split.
    """

    def __init__(self, disk: DiskGraph, split: Split) -> None:
        if split.inductive:
            raise ConfigError(
                "A graph on disk is observed whole: the split must be transductive. For the inductive setting write "
                "the observed graph into a folder of its own."
            )
        self.disk = disk
        self.graph = Data(x=disk.x, y=disk.y)
        self.split = split.check(disk.num_nodes)

    @cached_property
    def observed(self) -> Data:
        return Data(x=self.disk.x, y=self.train_labels(), n_id=torch.arange(self.disk.num_nodes))

    @property
    def csr(self) -> MappedCSR:
        return self.disk.csr

    def __repr__(self) -> str:
        sizes = {name: ids.numel() for name, ids in vars(self.split).items()}
        return f"DiskNodeData(nodes={self.disk.num_nodes}, edges={self.disk.csr.num_edges}, {sizes})"
