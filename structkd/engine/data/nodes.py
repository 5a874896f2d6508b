"""NodeTask: node classification on one graph, transductive or inductive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch_geometric.data import Data

from structkd.adapters import GraphAdapter
from structkd.datasets import FullGraph, NodeData, make_split
from structkd.engine.data.base import DataModule, fixed_batches
from structkd.engine.metrics import NodeAccuracy
from structkd.engine.objectives import NodeClassification
from structkd.engine.registry import DATASETS, build
from structkd.errors import ConfigError, nearest
from structkd.evaluation.efficiency import node_latency


class NodeTask(DataModule):
    """Node classification.

    Args:
        dataset: config of a reader that returns a PyG `Data`.
        protocol: `dict(name="cpf" | "public" | "random" | "planetoid_random", inductive=False, ...)`; further keys
            are options of that protocol.
        transforms: names of feature transforms: "row_normalize".
        latency_batches: batch sizes for inference latency; empty skips the measurement.
        hops: neighbourhood a GNN needs for one prediction, for its latency.
    """

    def __init__(
        self,
        dataset: Mapping[str, Any],
        protocol: Mapping[str, Any],
        transforms: Sequence[str] = (),
        latency_batches: Sequence[int] = (128,),
        hops: int = 2,
    ) -> None:
        self.graph = build(DATASETS, dataset, "data.dataset")
        for name in transforms:
            if name not in TRANSFORMS:
                raise ConfigError(f"data.transforms: there is no transform '{name}'. {nearest(name, TRANSFORMS)}")
            self.graph.x = TRANSFORMS[name](self.graph.x)
        options = dict(protocol)
        self.protocol_name, self.options = options.pop("name"), options
        self.inductive = bool(options.get("inductive", False))
        self.protocol = f"{self.protocol_name}, {'inductive' if self.inductive else 'transductive'}"
        self.primary_metric = "prod/accuracy" if self.inductive else "test/accuracy"
        self.latency_batches, self.hops = tuple(latency_batches), hops
        self.nodes: NodeData

    def setup(self, seed: int) -> None:
        self.nodes = NodeData(self.graph, make_split(self.protocol_name, self.graph, seed, **self.options))

    @property
    def facts(self) -> dict[str, Any]:
        y = self.graph.y
        classes = y.size(1) if y.dim() == 2 else int(y.max()) + 1
        return {"in_channels": self.graph.x.size(1), "out_channels": classes}

    def objective(self) -> NodeClassification:
        return NodeClassification()

    def train_loader(
        self, config: Mapping[str, Any] | None, where: str, seed: int, rank: int, world_size: int
    ) -> DataLoader:
        loader = build(
            DATASETS,
            config or {"type": "FullGraph"},
            where,
            node_data=self.nodes,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )
        if not hasattr(loader.dataset, "metainfo"):
            loader.dataset.metainfo = {}
        return loader

    def eval_loader(self, split: str) -> DataLoader:
        observed, ids = self.nodes.observed, self.nodes.split
        if split == "val":
            return fixed_batches([_evaluation(observed, self.graph.y, {"val": ids.val})])
        batches = [_evaluation(observed, self.graph.y, {"val": ids.val, "test": ids.test})]
        if ids.ind.numel():
            whole = self.graph.clone()
            whole.n_id = torch.arange(self.graph.num_nodes)
            batches.append(_evaluation(whole, self.graph.y, {"ind": ids.ind}))
        return fixed_batches(batches)

    def metrics(self) -> list[Any]:
        ids = self.nodes.split
        held_out = ids.ind.numel()
        return [NodeAccuracy(production_rate=held_out / max(1, held_out + ids.test.numel()))]

    def observed_batches(self) -> Iterator[Data]:
        yield from FullGraph(self.nodes)

    @property
    def observed_graph(self) -> Data:
        return self.nodes.observed

    def example(self) -> Data:
        return next(iter(FullGraph(self.nodes)))

    def latency(self, model: nn.Module, adapter: GraphAdapter) -> dict[str, Any]:
        if not self.latency_batches:
            return {}
        hops = self.hops if "edge_index" in adapter.inputs else 0
        return node_latency(model, self.graph, self.latency_batches, hops=hops)


def _evaluation(graph: Data, labels: Tensor, splits: Mapping[str, Tensor]) -> Data:
    """`graph` with the labels of the given splits (global ids) and no others; `splits` become its rows."""
    row = torch.full((labels.size(0),), -1, dtype=torch.long)
    row[graph.n_id] = torch.arange(graph.n_id.numel())
    batch = Data(**graph.to_dict())
    batch.splits = {name: row[ids] for name, ids in splits.items()}
    batch.y = torch.full_like(labels[graph.n_id], -1)
    for name, ids in splits.items():
        batch.y[batch.splits[name]] = labels[ids]
    return batch


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
