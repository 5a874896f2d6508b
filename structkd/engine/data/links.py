"""LinkTask: link prediction on one graph, with all nodes known or with nodes that arrive after training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch_geometric.data import Data

from structkd.adapters import GraphAdapter
from structkd.datasets import LinkData, split_links
from structkd.distillers.graphs.llp import sample_context
from structkd.engine.data.base import DataModule, FinishedStage, build_loader, fixed_batches
from structkd.engine.data.features import read_graph
from structkd.engine.metrics import LinkRanking
from structkd.engine.objectives import LinkPrediction
from structkd.engine.registry import check_arguments
from structkd.engine.teachers import EmbeddedPairs, LiveTeacher, Teacher
from structkd.evaluation.efficiency import node_latency
from structkd.models import HeuristicTeacher, LinkModel


class LinkTask(DataModule):
    """Link prediction. Elements are node pairs: models read `x`, `pairs` [2, P] and, where they are GNNs, `edge_index`.

    Args:
        dataset: config of a reader that returns a PyG `Data` with undirected edges; its labels are not used.
        protocol: options of `structkd.datasets.split_links`: `val`, `test`, `new_nodes` (above 0: the production
            setting), `extra`, `seed`. With `seed` every run has that split (as LLP's 234), without it each run
            draws its own.
        transforms: names of feature transforms: "row_normalize".
        metric: what tables lead with, and by whose validation score epochs are chosen; one of `LinkRanking`.
        hits: the K of Hits@K.
        latency_batches: pairs to time a model on; empty skips the measurement.
        hops: neighbourhood a GNN needs for one embedding, for its latency.

    A stage's `train_dataloader` is a `LinkBatches` (default: all training pairs in one batch); its `context`, options
    of `structkd.distillers.graphs.llp.sample_context`, adds candidate pairs without labels for distillation.

    Training sees `LinkData.observed`: no edge of val or test is among the edges that messages run along, and new
    nodes are not there. Test pairs are scored on `LinkData.graph`, what is visible when predictions are made.
    """

    def __init__(
        self,
        dataset: Mapping[str, Any],
        protocol: Mapping[str, Any] | None = None,
        transforms: Sequence[str] = (),
        metric: str = "hits@20",
        hits: Sequence[int] = (10, 20, 50),
        latency_batches: Sequence[int] = (128,),
        hops: int = 2,
    ) -> None:
        self.graph = read_graph(dataset, transforms)
        self.options = dict(protocol or {})
        check_arguments(split_links, self.options, "data.protocol")
        setting = "production" if self.options.get("new_nodes", 0) > 0 else "transductive"
        drawn = f"one split (seed {self.options['seed']})" if "seed" in self.options else "a split for each seed"
        self.protocol = f"link prediction, {setting}, {drawn}"
        self.primary_metric, self.selection = f"test/{metric}", {"metric": f"val/{metric}"}
        self.hits, self.latency_batches, self.hops = tuple(hits), tuple(latency_batches), hops
        self.links: LinkData

    def setup(self, seed: int) -> None:
        self.links = split_links(self.graph, **{"seed": seed, **self.options})

    @property
    def facts(self) -> dict[str, Any]:
        return {"in_channels": self.graph.x.size(1)}

    def objective(self) -> LinkPrediction:
        return LinkPrediction()

    def train_loader(
        self, config: Mapping[str, Any] | None, where: str, seed: int, rank: int, world_size: int
    ) -> DataLoader:
        settings = {"type": "LinkBatches", "batch_size": self.links.train.size(1), **(config or {})}
        if settings.get("context") is not None:
            check_arguments(sample_context, settings["context"], f"{where}.context")
            settings["context"] = partial(sample_context, **settings["context"])
        return build_loader(settings, where, link_data=self.links, seed=seed, rank=rank, world_size=world_size)

    def eval_loader(self, split: str) -> DataLoader:
        links = self.links
        batches = [_evaluation(links.observed, {"val": links.val}, links.val_negatives)]
        if split == "test":
            groups = {"test" if name == "all" else name: pairs for name, pairs in links.test.items()}
            batches.append(_evaluation(links.graph, groups, links.test_negatives))
        return fixed_batches(batches)

    def metrics(self) -> list[Any]:
        return [LinkRanking(self.hits)]

    def observed_batches(self) -> Iterator[Data]:
        # No pairs: what a later stage needs of a link model are its embeddings.
        yield Data(**self.links.observed.to_dict(), pairs=torch.empty(2, 0, dtype=torch.long))

    @property
    def observed_graph(self) -> Data:
        return self.links.observed

    def stage_teacher(self, stage: FinishedStage) -> Teacher:
        """A link model teaches by stored embeddings and its predictor, anything else (a heuristic) by running."""
        model = stage.load_model()
        if not isinstance(model, LinkModel):
            return LiveTeacher(model, stage.build_adapter())
        return LiveTeacher(EmbeddedPairs(stage.outputs().x, model.predictor), GraphAdapter(inputs=("pairs",)))

    def example(self) -> Data:
        observed = self.links.observed
        rows = torch.arange(min(100, observed.n_id.numel()))
        return Data(**observed.to_dict(), pairs=torch.stack([rows, rows.flip(0)]))

    def latency(self, model: nn.Module, adapter: GraphAdapter) -> dict[str, Any]:
        if isinstance(model, HeuristicTeacher):  # how far it looks is not `hops`
            return {}
        graph, hops = self.links.graph, self.hops if "edge_index" in adapter.inputs else 0
        sizes = [pairs for pairs in self.latency_batches if 2 * pairs <= graph.n_id.numel()]
        return {
            str(pairs): node_latency(_Ends(model, pairs), graph, (2 * pairs,), hops=hops)[str(2 * pairs)]
            for pairs in sizes
        }


class _Ends(nn.Module):
    """A link model on the nodes 0 .. 2 P - 1, the first half paired with the second; further nodes are neighbours."""

    def __init__(self, model: nn.Module, pairs: int) -> None:
        super().__init__()
        self.model, self.pairs = model, torch.arange(2 * pairs).view(2, -1)

    def forward(self, x: Tensor, *edge_index: Tensor) -> Any:
        return self.model(x, self.pairs.to(x.device), *edge_index)


def _evaluation(graph: Data, groups: Mapping[str, Tensor], negatives: Tensor) -> Data:
    """`graph` with the pairs of each group, then the negatives; a split is a group's rows and the negatives'."""
    parts = [*groups.values(), negatives]
    pairs = torch.cat(parts, 1)
    rows = torch.arange(pairs.size(1)).split([part.size(1) for part in parts])
    batch = Data(**graph.to_dict(), pairs=pairs)
    batch.y = (torch.arange(pairs.size(1)) < pairs.size(1) - negatives.size(1)).float()
    batch.splits = {name: torch.cat([own, rows[-1]]) for name, own in zip(groups, rows)}
    return batch
