"""NodeTask: node classification on one graph, transductive or inductive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch_geometric.data import Data

from structkd.adapters import GraphAdapter
from structkd.datasets import FullGraph, NodeData, deepwalk, make_split, node_positions
from structkd.engine.data.base import DataModule, build_loader, fixed_batches, named_protocol
from structkd.engine.data.features import read_graph
from structkd.engine.metrics import Accuracy
from structkd.engine.objectives import Classification
from structkd.engine.registry import check_arguments
from structkd.engine.teachers import StoredTeacher, Teacher
from structkd.evaluation.efficiency import node_latency
from structkd.models import FileTeacher, graph_augment


class NodeTask(DataModule):
    """Node classification.

    Args:
        dataset: config of a reader that returns a PyG `Data`.
        protocol: `dict(name="cpf" | "public" | "random" | "planetoid_random", inductive=False, ...)`; further keys
            are options of that protocol.
        transforms: names of feature transforms: "row_normalize".
        positions: arguments of `structkd.datasets.node_positions` (DeepWalk vectors of the observed graph, which a
            held-out node takes from its neighbours); batches then carry `positions` [N, dim]. Needed by NOSMOG.
        augment_hops: propagate the features so many times (`structkd.models.graph_augment`); batches then carry
            `augmented` [N, F], what a GA-MLP reads. Observed nodes see the observed graph only.
        latency_batches: batch sizes for inference latency; empty skips the measurement.
        hops: neighbourhood a GNN needs for one prediction, for its latency.
    """

    def __init__(
        self,
        dataset: Mapping[str, Any],
        protocol: Mapping[str, Any],
        transforms: Sequence[str] = (),
        positions: Mapping[str, Any] | None = None,
        augment_hops: int | None = None,
        latency_batches: Sequence[int] = (128,),
        hops: int = 2,
    ) -> None:
        self.graph = read_graph(dataset, transforms)
        self.protocol_name, self.options = named_protocol(protocol)
        self.inductive = bool(self.options.get("inductive", False))
        self.protocol = f"{self.protocol_name}, {'inductive' if self.inductive else 'transductive'}"
        self.primary_metric = "prod/accuracy" if self.inductive else "test/accuracy"
        self.position_options, self.augment_hops = positions, augment_hops
        check_arguments(deepwalk, positions or {}, "data.positions")
        self.latency_batches, self.hops = tuple(latency_batches), hops
        self.nodes: NodeData

    def setup(self, seed: int) -> None:
        self.nodes = NodeData(self.graph, make_split(self.protocol_name, self.graph, seed, **self.options))
        if self.position_options is not None:
            # Computed on what this split lets be observed; the last seed's vectors are overwritten.
            vectors = node_positions(self.nodes, **{"seed": seed, **self.position_options})
            self.nodes.graph.positions = vectors
            self.nodes.observed.positions = vectors[self.nodes.observed.n_id]
        if self.augment_hops is not None:
            for graph in (self.nodes.graph, self.nodes.observed):
                graph.augmented = graph_augment(graph.x, graph.edge_index, self.augment_hops)

    @property
    def facts(self) -> dict[str, Any]:
        y = self.graph.y
        classes = y.size(1) if y.dim() == 2 else int(y.max()) + 1
        return {"in_channels": self.graph.x.size(1), "out_channels": classes}

    def objective(self) -> Classification:
        return Classification()

    def train_loader(
        self, config: Mapping[str, Any] | None, where: str, seed: int, rank: int, world_size: int
    ) -> DataLoader:
        settings = config or {"type": "FullGraph"}
        return build_loader(settings, where, node_data=self.nodes, seed=seed, rank=rank, world_size=world_size)

    def eval_loader(self, split: str) -> DataLoader:
        observed, ids = self.nodes.observed, self.nodes.split
        if split == "val":
            return fixed_batches([_evaluation(observed, self.graph.y, {"val": ids.val})])
        batches = [_evaluation(observed, self.graph.y, {"val": ids.val, "test": ids.test})]
        if ids.ind.numel():
            whole = self.nodes.graph.clone()
            whole.n_id = torch.arange(self.graph.num_nodes)
            batches.append(_evaluation(whole, self.graph.y, {"ind": ids.ind}))
        return fixed_batches(batches)

    def metrics(self) -> list[Any]:
        ids = self.nodes.split
        held_out = ids.ind.numel()
        return [Accuracy(production_rate=held_out / max(1, held_out + ids.test.numel()))]

    def observed_batches(self) -> Iterator[Data]:
        yield from FullGraph(self.nodes)

    @property
    def observed_graph(self) -> Data:
        return self.nodes.observed

    def file_teacher(self, path: str, keys: Mapping[str, str]) -> Teacher:
        adapter = GraphAdapter(inputs=("data",), fields=[field for field in keys if field != "logits"])
        return StoredTeacher(adapter(FileTeacher(path, keys, self.graph.num_nodes), self.observed_graph))

    def example(self) -> Data:
        return next(iter(FullGraph(self.nodes)))

    def latency(self, model: nn.Module, adapter: GraphAdapter) -> dict[str, Any]:
        if not self.latency_batches or adapter.inputs not in (("x",), ("x", "edge_index")):
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
