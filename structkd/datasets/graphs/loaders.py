"""Loaders: the observed graph whole, in node batches or in edge batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from structkd.datasets.epochs import Batches, EpochPlan, Part, PlannedLoader, seeded
from structkd.datasets.graphs.build import labelled
from structkd.datasets.graphs.node_data import NodeData
from structkd.datasets.graphs.subgraphs import RowLookup, sample_subgraph
from structkd.errors import ConfigError, DataError, nearest
from structkd.ops.sparse_features import take_rows

SEEDS = ("all", "train", "unlabelled")


def _seed_rows(observed: Data, seeds: str) -> Tensor:
    """Rows of the observed graph that may be distilled."""
    if seeds not in SEEDS:
        raise ConfigError(f"seeds={seeds!r} names no set of nodes. {nearest(seeds, SEEDS)}")
    known = labelled(observed.y)
    mask = torch.ones_like(known) if seeds == "all" else known if seeds == "train" else ~known
    rows = mask.nonzero().view(-1)
    if rows.numel() == 0:
        raise DataError(f"The observed graph has no node for seeds={seeds!r}.")
    return rows


def _edges_held(node_data: NodeData, loader: str) -> Tensor:
    """`edge_index` of the observed graph; a `ConfigError` where it lies on disk."""
    edges = node_data.observed.get("edge_index")
    if edges is None:
        raise ConfigError(f"{loader} holds all edges, but this graph's are on disk; take NodeBatches.")
    return edges


class _Whole(Batches):
    def __init__(self, node_data: NodeData, seeds: str) -> None:
        _edges_held(node_data, "FullGraph")
        self.batch = Data(**node_data.observed.to_dict())
        self.batch.mask = torch.zeros(self.batch.n_id.numel(), dtype=torch.bool)
        self.batch.mask[_seed_rows(self.batch, seeds)] = True
        self.batch.label_scale = 1.0 / int(labelled(self.batch.y).sum())
        self.batch.share = 1.0

    def __getitem__(self, part: Part) -> Data:
        return self.batch


class FullGraph(PlannedLoader):
    """One batch an epoch: the whole observed graph, the same object each time.

    Args:
        node_data: the graph and its split.
        seeds: nodes whose `mask` is set: "all" (default), "train" or "unlabelled".

    Yields:
        `Data` with the fields of `observed` (`x`, `edge_index`, `n_id`, `y` = -1 except on training nodes), `mask`,
        `label_scale` = 1 / |V_L| and `share` = 1 (see `NodeBatches`).
    """

    def __init__(self, node_data: NodeData, seeds: str = "all", **loader: Any) -> None:
        super().__init__(_Whole(node_data, seeds), EpochPlan([1], 1), **loader)


class _Nodes(Batches):
    """Batches around seed nodes; `edge_index` below is what `fanouts` reach."""

    def __init__(self, node_data: NodeData, seeds: str, fanouts: Sequence[int] | None) -> None:
        self.observed = node_data.observed
        self.rows = _seed_rows(self.observed, seeds)
        self.fanouts = None if fanouts is None else tuple(fanouts)
        if self.fanouts == ():
            raise ConfigError("NodeBatches(fanouts=[]): expected a number for each hop, or None for no edges.")
        self.lookup = RowLookup(self.observed.n_id.numel())
        seed_labels = int(labelled(self.observed.y[self.rows]).sum())
        self.label_rate = self.rows.numel() / seed_labels if seed_labels else 0.0
        if self.fanouts is not None:
            self.csr = node_data.csr
            self.degree = self.csr.degree()
            self.num_edges = int(self.degree[self.rows].sum())

    def __getitem__(self, part: Part) -> Data:
        seeds = self.rows[part.picks[0]]
        if self.fanouts is None:
            return self.batch(seeds, seeds, part)
        rows, edge_index = sample_subgraph(self.csr, seeds, self.fanouts, self.lookup, seeded(*part.key))
        batch = self.batch(rows, seeds, part)
        batch.edge_index = edge_index
        batch.edge_scale = self.edge_scale(edge_index[1], seeds, self.fanouts[0])
        return batch

    def batch(self, rows: Tensor, seeds: Tensor, part: Part) -> Data:
        """The rows of a batch, seeds in front, without edges."""
        x = take_rows(self.observed.x, rows)
        batch = Data(x=x.float() if x.dtype == torch.float16 else x)  # as files may hold them
        for name, value in self.observed.to_dict().items():
            if name not in ("x", "edge_index"):
                batch[name] = value[rows]
        batch.mask = torch.arange(rows.numel()) < seeds.numel()
        batch.y[~batch.mask] = -1  # a labelled neighbour would count more often than its turn as a seed
        batch.label_scale = self.label_rate / seeds.numel()
        batch.share = part.share
        return batch

    def edge_scale(self, target: Tensor, seeds: Tensor, fanout: int) -> Tensor:
        """Inverse probability that the edge is in the batch, over the number of edges; 0 beyond the first hop."""
        degree = self.degree[seeds].to(torch.float32)
        taken = degree if fanout < 0 else degree.clamp(max=fanout)
        scale = degree / taken.clamp(min=1) * (self.rows.numel() / (seeds.numel() * max(self.num_edges, 1)))
        first_hop = target < seeds.numel()
        return torch.where(first_hop, scale[target.clamp(max=seeds.numel() - 1)], 0.0)


class NodeBatches(PlannedLoader):
    """Mini-batches of seed nodes, with as much of their neighbourhood as asked for.

    Args:
        node_data: the graph and its split.
        batch_size: seeds in a global batch at most; an epoch's batches differ by one seed at most.
        seeds: "all" observed nodes (default), "train" or "unlabelled".
        fanouts: in-neighbours sampled a node in each hop, -1 = all; `[5, 5]` for a two-layer GNN, `[-1]` or `[k]`
            for losses along edges. None (default): no edges, for losses on nodes.
        drop_last: cut every epoch to whole batches, as GLNN's code does: up to `batch_size - 1` nodes, others each
            epoch, are left out. By default none is.
        rank, world_size: a global batch is cut into `world_size` contiguous parts; this process gets part `rank`.
        seed: with the epoch it fixes every batch.
        loader: arguments of `torch.utils.data.DataLoader`, such as `num_workers`.

    Yields:
        `Data` with the rows of a batch, seeds in front:
        `x`, `n_id` (global ids), `mask` (True = seed), `y` (-1 = no label may be used; only seeds have labels),
        `edge_index` (rows of the batch) and `edge_scale` where `fanouts` are given,
        `label_scale`: summed over labelled rows, loss * label_scale estimates the mean over all labelled seeds,
        `edge_scale` [E]: summed over the batch, loss * edge_scale estimates the mean over all directed edges that
        end at a seed node (with seeds="all": over all edges of the observed graph); 0 for edges beyond the first hop,
        `share`: 1, unless `world_size` does not divide the batch: then the loss times `share`, averaged over the
        processes, equals the loss of the undivided batch.
        All estimates are unbiased. With `fanouts` None or -1, processes together compute exactly what one computes;
        with sampled neighbours each process draws its own.

    Differences: GLNN drops the remainder of a random permutation (`drop_last=True`); DGL samples each layer of a
    seed anew, while here (as in PyG) a node met in several hops keeps its first sample.
    """

    def __init__(
        self,
        node_data: NodeData,
        batch_size: int,
        seeds: str = "all",
        fanouts: Sequence[int] | None = None,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        **loader: Any,
    ) -> None:
        batches = _Nodes(node_data, seeds, fanouts)
        size = batches.rows.numel()
        if batch_size < 1:
            raise ConfigError(f"NodeBatches(batch_size={batch_size}): expected at least 1.")
        number = max(1, size // batch_size) if drop_last else -(-size // batch_size)
        keep = min(size, number * batch_size) if drop_last else size
        super().__init__(batches, EpochPlan([size], number, seed, rank, world_size, keep), **loader)


class _Edges(_Nodes):
    def __init__(self, node_data: NodeData, seeds: str, world_size: int) -> None:
        super().__init__(node_data, seeds, None)
        self.world_size = world_size

    def __getitem__(self, part: Part) -> Data:
        seeds = self.rows[part.picks[0]]
        edges = self.observed.edge_index[:, part.picks[1]]
        rows, edge_index = self.lookup.rows(seeds, edges)
        batch = self.batch(rows, seeds, part)
        batch.edge_index = edge_index
        batch.edge_scale = torch.full((edges.size(1),), self.world_size / (part.sizes[1] * part.share))
        return batch


class EdgeBatches(PlannedLoader):
    """Mini-batches of edges drawn uniformly, for losses along edges; beside them seed nodes for losses on nodes.

    An epoch passes once over all directed edges and once over all seed nodes: endpoints of random edges would
    favour hubs, so node losses get rows of their own. The seeds come first, then the endpoints not among them.

    Args:
        node_data: the graph and its split.
        batch_size: directed edges in a global batch at most.
        seeds, rank, world_size, seed, loader: as in `NodeBatches`.

    Yields:
        `Data` as from `NodeBatches`; `edge_scale` is 1 / (edges in the batch).
    """

    def __init__(
        self,
        node_data: NodeData,
        batch_size: int,
        seeds: str = "all",
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        **loader: Any,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"EdgeBatches(batch_size={batch_size}): expected at least 1.")
        num_edges = _edges_held(node_data, "EdgeBatches").size(1)
        batches = _Edges(node_data, seeds, world_size)
        if num_edges == 0:
            raise DataError("EdgeBatches needs edges, but the observed graph has none.")
        pools = [batches.rows.numel(), num_edges]
        super().__init__(batches, EpochPlan(pools, -(-num_edges // batch_size), seed, rank, world_size), **loader)
