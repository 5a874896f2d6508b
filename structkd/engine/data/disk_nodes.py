"""DiskNodeTask: node classification on a graph that lies on disk and may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch_geometric.data import Data

from structkd.adapters import GraphAdapter
from structkd.adapters.out_of_core import OutOfCoreAdapter
from structkd.datasets import DiskGraph, DiskNodeData, make_split
from structkd.datasets.graphs.loaders import NodeBatches
from structkd.engine.data.base import FinishedStage, fixed_batches, named_protocol
from structkd.engine.data.disk_outputs import disk_outputs, opened_teacher
from structkd.engine.data.nodes import NodeTask
from structkd.engine.registry import DATASETS, build
from structkd.engine.teachers import StoredTeacher, Teacher
from structkd.errors import ConfigError, DataError
from structkd.evaluation.efficiency import node_latency


class DiskNodeTask(NodeTask):
    """Node classification, out of core: features, edges and the teacher's outputs stay in mapped files.

    Training takes `NodeBatches` (a student without `fanouts`, a GNN with them); a GNN is evaluated by exact layer-wise
    inference over the whole graph, see `OutOfCoreAdapter`, so that `val_interval` is better above 1 for large graphs.
    A finished stage teaches by its logits, written once beside it together with FF-G2M's low-frequency targets;
    distillers that read hidden features or edges of the teacher have nothing to read.

    Args:
        dataset: config of a reader that returns a `DiskGraph`: `disk_graph`, `synthetic_disk_graph`.
        protocol: `dict(name="given")`, the ids in the folder's files, or one that draws from the labels, as
            `NodeTask`. Transductive.
        targets: `dict(reduction="edge", low_tau=1.0)`, settings of the `FFG2M` that is to find its low-frequency
            targets ready; None (default) where no stage uses it.
        batch_size: nodes in an evaluation batch.
        latency_batches: batch sizes for inference latency of graph-free models; empty skips it.
    """

    adapter = "OutOfCoreAdapter"
    stores_outputs = False  # not in memory, and not in one piece

    def __init__(
        self,
        dataset: Mapping[str, Any],
        protocol: Mapping[str, Any],
        targets: Mapping[str, Any] | None = None,
        batch_size: int = 65536,
        latency_batches: Sequence[int] = (128,),
    ) -> None:
        disk = build(DATASETS, dataset, "data.dataset")
        if not isinstance(disk, DiskGraph):
            raise ConfigError(
                f"data.dataset gives a {type(disk).__name__}; DiskNodeTask reads graphs on disk: disk_graph, "
                "synthetic_disk_graph. NodeTask reads the others."
            )
        self.disk: DiskGraph = disk
        self.graph = Data(x=disk.x, y=disk.y)
        self.protocol_name, self.options = named_protocol(protocol)
        if self.options.get("inductive", False):
            raise ConfigError("data.protocol.inductive: a graph on disk is observed whole, so only False is possible.")
        self.protocol = f"{self.protocol_name}, transductive"
        self.primary_metric = "test/accuracy"
        self.targets, self.batch_size = targets, batch_size
        self.latency_batches = tuple(latency_batches)
        self.nodes: DiskNodeData

    def setup(self, seed: int) -> None:
        if self.protocol_name in ("given", "public", "ogb"):
            if self.disk.split is None:
                raise DataError(f"{self.disk.folder} has no train.npy, val.npy and test.npy for the protocol 'given'.")
            split = self.disk.split
        else:
            split = make_split(self.protocol_name, self.graph, seed, **self.options)
        self.nodes = DiskNodeData(self.disk, split)

    @property
    def facts(self) -> dict[str, Any]:
        return {"in_channels": self.disk.x.size(1), "out_channels": self.disk.num_classes}

    def train_loader(
        self, config: Mapping[str, Any] | None, where: str, seed: int, rank: int, world_size: int
    ) -> DataLoader:
        if config is None:
            raise ConfigError(f"{where}: a graph on disk needs dict(type='NodeBatches', batch_size=...).")
        return super().train_loader(config, where, seed, rank, world_size)

    def eval_loader(self, split: str) -> DataLoader:
        ids = self.nodes.split
        parts = {"val": ids.val} if split == "val" else {"val": ids.val, "test": ids.test}
        return fixed_batches(_Evaluation(self.disk, parts, self.batch_size))

    def observed_batches(self) -> Iterator[Data]:
        for rows in torch.arange(self.disk.num_nodes).split(self.batch_size):
            batch = _Evaluation(self.disk, {}, self.batch_size).batch(rows)
            batch.y = self.nodes.observed.y[rows]
            yield batch

    def stage_teacher(self, stage: FinishedStage) -> Teacher:
        adapter, folder = stage.build_adapter(), stage.folder / "outputs"

        def logits() -> Tensor:
            model = stage.load_model()
            if not isinstance(adapter, OutOfCoreAdapter) or adapter.inputs not in (("x",), ("x", "edge_index")):
                raise ConfigError("A teacher on a graph on disk is read by an OutOfCoreAdapter of x and edge_index.")
            return adapter.whole(model, self.disk)

        return self._teacher(folder, stage.folder / "student.pth", logits)

    def file_teacher(self, path: str, keys: Mapping[str, str]) -> Teacher:
        if dict(keys) != {"logits": "logits"}:
            raise ConfigError("On a graph on disk a teacher's file holds logits, as .npy, and nothing else.")
        logits = opened_teacher(path, self.disk)
        return self._teacher(self.disk.scratch_folder / f"teacher_{Path(path).stem}", Path(path), lambda: logits)

    def _teacher(self, folder: Path, source: Path, logits: Any) -> Teacher:
        structure = disk_outputs(folder, source, self.disk, logits, self.targets)
        return StoredTeacher(structure, _as_floats)

    def example(self) -> Data:
        fanouts = (5, 5) if self.disk.csr.num_edges else None
        loader = NodeBatches(self.nodes, min(64, self.disk.num_nodes), fanouts=fanouts)
        return next(iter(loader))

    def latency(self, model: nn.Module, adapter: GraphAdapter) -> dict[str, Any]:
        if not self.latency_batches or adapter.inputs != ("x",):
            return {}
        return node_latency(model, self.graph, self.latency_batches)


def _as_floats(structure: Any) -> Any:
    """Half-precision rows, as files may hold them, as float32."""
    for name, value in structure.to_dict().items():
        if isinstance(value, Tensor) and value.dtype == torch.float16:
            structure[name] = value.float()
    return structure


class _Evaluation(Sequence[Data]):
    """Batches of the nodes of some splits: their features, labels, rows by split, and the graph for those who ask."""

    def __init__(self, disk: DiskGraph, parts: Mapping[str, Tensor], size: int) -> None:
        self.disk = disk
        self.batches = [(name, ids) for name, part in parts.items() for ids in part.split(size)]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: Any) -> Any:
        name, ids = self.batches[index]
        batch = self.batch(ids)
        batch.y = self.disk.y[ids]
        batch.splits = {name: torch.arange(ids.numel())}
        return batch

    def batch(self, ids: Tensor) -> Data:
        return Data(x=self.disk.rows(ids), n_id=ids, disk=self.disk)
