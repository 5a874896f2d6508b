"""Graph classification: sets of small graphs, the embedded default, and batches of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.data.separate import separate
from torch_geometric.io import read_tu_data

from structkd.datasets.epochs import Batches, EpochPlan, Part, PlannedLoader
from structkd.datasets.files import damaged, require_file
from structkd.datasets.graphs.build import check_graph, undirected
from structkd.datasets.graphs.digits import load_digits
from structkd.datasets.graphs.protocols import Split
from structkd.errors import ConfigError, DataError


class GraphSet:
    """Labelled graphs, each known by its place in the list.

    Args:
        graphs: `Data` each with `x` [N_g, F], `edge_index` and `y` [1]. They get `n_id` [N_g], node ids that run
            through the whole set, and `graph_id` [1].

    `make_split("random", graph_set, seed)` splits a set as it splits the nodes of a graph.
    """

    def __init__(self, graphs: Sequence[Data]) -> None:
        if not graphs:
            raise DataError("A GraphSet needs at least one graph.")
        self.graphs, first = [], 0
        for number, graph in enumerate(graphs):
            y = graph.get("y")
            if not isinstance(y, Tensor) or y.shape != (1,) or y.dtype != torch.long or int(y) < 0:
                raise DataError(f"Graph {number} has y = {y!r}; expected a class id as int64 tensor of shape [1].")
            nodes = graph.x.size(0)
            check_graph(Data(x=graph.x, edge_index=graph.edge_index, y=y.expand(nodes)), f"Graph {number}")
            graph = Data(**graph.to_dict(), n_id=torch.arange(first, first + nodes), graph_id=torch.tensor([number]))
            self.graphs.append(graph)
            first += nodes
        self.y = torch.cat([graph.y for graph in self.graphs])

    def __len__(self) -> int:
        return len(self.graphs)

    def batch(self, ids: Tensor) -> Batch:
        """The graphs `ids` as one PyG `Batch`: nodes in `x`, `batch` tells their graph, a `y` and `graph_id` each."""
        return Batch.from_data_list([self.graphs[i] for i in ids.tolist()])


class _Graphs(Batches):
    def __init__(self, graphs: GraphSet, ids: Tensor) -> None:
        self.graphs, self.ids = graphs, ids

    def __getitem__(self, part: Part) -> Batch:
        ids = self.ids[part.picks[0]]
        batch = self.graphs.batch(ids)
        batch.label_scale, batch.share = 1.0 / ids.numel(), part.share
        return batch


class GraphBatches(PlannedLoader):
    """Mini-batches of the training graphs.

    Args:
        graphs: the set.
        split: graph ids.
        batch_size: graphs in a global batch at most; an epoch's batches differ by one graph at most.
        rank, world_size, seed, loader: as in `NodeBatches`.

    Yields:
        PyG `Batch`, see `GraphSet.batch`, with `label_scale` (1 / graphs) and `share` as in `NodeBatches`.
    """

    def __init__(
        self,
        graphs: GraphSet,
        split: Split,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        **loader: Any,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"GraphBatches(batch_size={batch_size}): expected at least 1.")
        size = split.check(len(graphs)).train.numel()
        plan = EpochPlan([size], -(-size // batch_size), seed, rank, world_size)
        super().__init__(_Graphs(graphs, split.train), plan, **loader)


def digit_graphs(threshold: float | None = 0.0) -> GraphSet:
    """The embedded default: scikit-learn's 1797 digits as graphs of pixels; needs no download.

    Args:
        threshold: a pixel brighter than this (0 to 1) is a node; None makes all 64 cells nodes.

    Returns:
        `GraphSet` of graphs with `x` [N_g, 3] (brightness, row and column, all in [0, 1]), `pos` [N_g, 2] (row,
        column in pixels), edges between the 8 neighbours of a pixel, and `y` in 0..9.
    """
    images, labels = load_digits()
    pos, grid = _pixel_grid(images.shape[1], images.shape[2])
    scale = torch.tensor([images.shape[1] - 1, images.shape[2] - 1])
    graphs = []
    for brightness, label in zip(torch.from_numpy(images).flatten(1), labels, strict=True):
        keep = torch.ones_like(brightness, dtype=torch.bool) if threshold is None else brightness > threshold
        row = keep.cumsum(0) - 1
        edges = row[grid[:, keep[grid[0]] & keep[grid[1]]]]
        x = torch.cat([brightness[keep, None], pos[keep] / scale], 1)
        graphs.append(Data(x=x, edge_index=edges, y=torch.tensor([int(label)]), pos=pos[keep]))
    return GraphSet(graphs)


@functools.cache
def _pixel_grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Positions [H W, 2] and the edges between cells that touch, corners included."""
    pos = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    distance = (pos[:, None] - pos[None]).abs().amax(-1)
    return pos.float(), (distance == 1).nonzero().t().contiguous()


def tu_graphs(root: str | Path, name: str) -> GraphSet:
    """A graph classification set of the TU collection (Morris et al. 2020, arXiv:2007.08663).

    Args:
        root: folder that holds `<name>/raw/<name>_A.txt`, `_graph_indicator.txt`, `_graph_labels.txt` and, where they
            exist, `_node_labels.txt` and `_node_attributes.txt`: PyG's layout.
        name: such as "MUTAG" or "PROTEINS".

    Returns:
        `GraphSet` with `x` = node attributes and one-hot node labels; log(1 + degree) where there is neither.

    Differences: PyG's `TUDataset` leaves out node attributes by default; nothing is cached beside the raw files here.
    """
    folder = Path(root) / name / "raw"
    code = f"from torch_geometric.datasets import TUDataset; TUDataset('{root}', '{name}')"
    how = f'Download it with: python -c "{code}".'
    for part in ("A", "graph_indicator", "graph_labels"):
        require_file(folder / f"{name}_{part}.txt", how)
    try:
        data, slices, _ = read_tu_data(str(folder), name)
        graphs = [separate(Data, data, i, slices, decrement=False) for i in range(len(slices["y"]) - 1)]
    except (ValueError, IndexError, RuntimeError) as error:
        raise damaged(folder / f"{name}_*.txt", error, how) from error
    return GraphSet([_with_features(graph) for graph in graphs])


def _with_features(graph: Data) -> Data:
    nodes = int(graph.num_nodes)
    edges = undirected(graph.edge_index, nodes)
    x = graph.get("x")
    if x is None or x.size(1) == 0:
        x = torch.bincount(edges[1], minlength=nodes).float().log1p()[:, None]
    return Data(x=x, edge_index=edges, y=graph.y.view(1))
