"""GraphTask: classification of whole graphs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch_geometric.data import Batch, Data

from structkd.adapters import GraphAdapter
from structkd.datasets import GraphSet, Split, make_split
from structkd.engine.data.base import DataModule, FinishedStage, build_loader, fixed_batches, named_protocol
from structkd.engine.metrics import Accuracy
from structkd.engine.objectives import Classification
from structkd.engine.registry import DATASETS, build
from structkd.engine.teachers import GraphTeacher, Teacher
from structkd.errors import ConfigError
from structkd.evaluation.efficiency import latency
from structkd.models import graph_augment


class GraphTask(DataModule):
    """Graph classification. Models are called with `x`, `batch` [N] (a node's graph) and, for a GNN, `edge_index`.

    Args:
        dataset: config of a reader that returns a `GraphSet`.
        protocol: `dict(name="random" | "cpf" | "planetoid_random", ...)`; further keys are options of that protocol,
            which draws graphs as it draws nodes.
        columns: columns of `x` that are used, default all.
        augment: above 0, batches also carry `augmented` [N, F (augment + 1)]: `x` beside its propagations
            (`structkd.models.graph_augment`) by 1 .. `augment` hops. An MLP that reads it is a GA-MLP, MuGSI's student;
            it needs the edges of a new graph once, before it predicts.
        latency_batches: graphs to time a model on; empty skips the measurement.

    A stage's `train_dataloader` is a `GraphBatches` (default: 64 graphs in a batch). What is observed are the training
    graphs: teachers are stored on them, and no other graph reaches a student before it is evaluated.
    """

    def __init__(
        self,
        dataset: Mapping[str, Any],
        protocol: Mapping[str, Any],
        columns: Sequence[int] | None = None,
        augment: int = 0,
        latency_batches: Sequence[int] = (128,),
    ) -> None:
        self.graphs: GraphSet = build(DATASETS, dataset, "data.dataset")
        if columns is not None:
            for graph in self.graphs.graphs:
                graph.x = graph.x[:, list(columns)]
        if augment:
            _augment(self.graphs, augment)
        self.protocol_name, self.options = named_protocol(protocol)
        if self.options.get("inductive"):
            raise ConfigError("data.protocol.inductive: whole graphs are always held out; leave the option away.")
        self.protocol = f"graph classification, {self.protocol_name} split of the graphs"
        self.latency_batches = tuple(latency_batches)
        self.split: Split
        self._observed: Batch

    def setup(self, seed: int) -> None:
        self.split = make_split(self.protocol_name, self.graphs, seed, **self.options)
        self._observed = self.graphs.batch(self.split.train)

    @property
    def facts(self) -> dict[str, Any]:
        return {"in_channels": self._observed.x.size(1), "out_channels": int(self.graphs.y.max()) + 1}

    def objective(self) -> Classification:
        return Classification()

    def train_loader(
        self, config: Mapping[str, Any] | None, where: str, seed: int, rank: int, world_size: int
    ) -> DataLoader:
        settings = config or {"type": "GraphBatches", "batch_size": 64}
        return build_loader(
            settings, where, graphs=self.graphs, split=self.split, seed=seed, rank=rank, world_size=world_size
        )

    def eval_loader(self, split: str) -> DataLoader:
        parts = {"val": self.split.val} | ({"test": self.split.test} if split == "test" else {})
        return fixed_batches([self._evaluation(name, ids) for name, ids in parts.items()])

    def _evaluation(self, name: str, ids: Tensor) -> Batch:
        batch = self.graphs.batch(ids)
        batch.splits = {name: torch.arange(ids.numel())}
        return batch

    def metrics(self) -> list[Any]:
        return [Accuracy()]

    def observed_batches(self) -> Iterator[Batch]:
        yield self._observed

    @property
    def observed_graph(self) -> Batch:
        return self._observed

    def stage_teacher(self, stage: FinishedStage) -> Teacher:
        return GraphTeacher(stage.outputs(), self._observed.graph_id)

    def example(self) -> Batch:
        return self.graphs.batch(self.split.train[:4])

    @torch.no_grad()
    def latency(self, model: nn.Module, adapter: GraphAdapter) -> dict[str, Any]:
        results = {}
        for size in self.latency_batches:
            graphs = [self.graphs.graphs[i] for i in self.split.test[:size].tolist()]
            # Only what the model reads is put together: a graph-free student is spared the edges.
            read = [name for name in adapter.inputs if name != "batch"]
            parts = [Data(num_nodes=g.n_id.numel(), **{name: g[name] for name in read}) for g in graphs]
            inputs = [Batch.from_data_list(parts)[name] for name in adapter.inputs]
            fetch, compute = latency(partial(Batch.from_data_list, parts)), latency(partial(model, *inputs))
            results[str(size)] = {"fetch": fetch["median"], "compute": compute["median"]}
        return results


def _augment(graphs: GraphSet, hops: int) -> None:
    """Give every graph its `augmented` features, all graphs at once: propagation does not cross from one to another."""
    whole = graphs.batch(torch.arange(len(graphs)))
    parts = [whole.x]
    for _ in range(hops):
        parts.append(graph_augment(parts[-1], whole.edge_index))
    rows = torch.cat(parts, 1).split(torch.bincount(whole.batch, minlength=len(graphs)).tolist())
    for graph, augmented in zip(graphs.graphs, rows):
        graph.augmented = augmented
