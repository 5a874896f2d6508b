"""The synthetic graph written to disk piece by piece, of any size."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from structkd.datasets.epochs import seeded
from structkd.datasets.graphs.disk import DiskGraph, disk_graph
from structkd.datasets.graphs.disk_write import write_graph
from structkd.datasets.graphs.external_sort import MEMORY_KEYS
from structkd.datasets.graphs.protocols import Split
from structkd.datasets.graphs.synthetic import CHUNK, SIZES, EdgeDraw, check_model
from structkd.errors import ConfigError, nearest
from structkd.ops.mapped import row_blocks


def synthetic_disk_graph(
    root: str | Path,
    size: str | None = None,
    *,
    num_nodes: int = 2000,
    num_edges: int = 20000,
    num_features: int = 32,
    num_classes: int = 5,
    homophily: float = 0.7,
    exponent: float | None = 2.5,
    noise: float = 4.0,
    train: float = 0.08,
    val: float = 0.02,
    seed: int = 0,
    check: bool = False,
    scratch: str | Path | None = None,
    sources: int | None = None,
) -> DiskGraph:
    """The model of `synthetic_graph` in a folder `disk_graph` opens; written on first use, in bounded memory.

    Args:
        root: the graph gets a sub-folder of its own, named after its parameters.
        size: "arxiv" or "products" sets the four numbers, see `synthetic_graph`.
        num_nodes, num_features, num_classes: exactly these are made.
        num_edges: undirected edges drawn; those drawn twice count once, so that a few percent fewer are there.
        homophily, exponent, noise, seed: see `synthetic_graph`. The draws come in another order than there.
        train, val: shares of the nodes; the rest tests (ogbn-products: 0.08, 0.016).
        check, scratch, sources: see `disk_graph`.

    Raises:
        ConfigError: arguments that describe no graph.
    """
    if size is not None:
        if size not in SIZES:
            raise ConfigError(f"synthetic_disk_graph(size={size!r}): there is no such size. {nearest(size, SIZES)}")
        wanted = {**SIZES[size]}
    else:
        wanted = dict(num_nodes=num_nodes, num_edges=num_edges, num_features=num_features, num_classes=num_classes)
    options: dict[str, Any] = dict(homophily=homophily, exponent=exponent, noise=noise, train=train, val=val, seed=seed)
    check_model("synthetic_disk_graph", **wanted, homophily=homophily, exponent=exponent)
    if not (train > 0 and val > 0 and train + val < 1):
        raise ConfigError(f"synthetic_disk_graph(train={train}, val={val}): expected shares above 0, below 1 in all.")
    tag = hashlib.sha256(json.dumps({**wanted, **options}, sort_keys=True).encode()).hexdigest()[:8]
    folder = Path(root) / f"synthetic_{wanted['num_nodes']}_{wanted['num_edges']}_{tag}"
    with _alone(folder):
        if not (folder / "meta.json").is_file():
            write_synthetic_graph(folder, **wanted, **options)
    return disk_graph(folder, check, scratch, sources)


def write_synthetic_graph(
    folder: str | Path,
    *,
    num_nodes: int,
    num_edges: int,
    num_features: int,
    num_classes: int,
    homophily: float = 0.7,
    exponent: float | None = 2.5,
    noise: float = 4.0,
    train: float = 0.08,
    val: float = 0.02,
    seed: int = 0,
    memory_keys: int = MEMORY_KEYS,
) -> Path:
    """Write the graph, see `synthetic_disk_graph`; holds a few numbers a node, and a piece of edges or features."""
    generator = seeded(seed)
    y = torch.arange(num_nodes).remainder_(num_classes)[torch.randperm(num_nodes, generator=generator)]
    order = torch.randperm(num_nodes, generator=generator)
    first, second = int(train * num_nodes), int((train + val) * num_nodes)
    split = Split(order[:first], order[first:second], order[second:]).check(num_nodes)
    centres = torch.randn(num_classes, num_features, generator=generator)
    arguments = (y, centres, noise, seeded(seed, 1))
    edges = edge_pieces(y, num_edges, homophily, exponent, seeded(seed, 2))
    return write_graph(folder, feature_pieces(*arguments), edges, y, num_classes, split, memory_keys=memory_keys)


def feature_pieces(y: Tensor, centres: Tensor, noise: float, generator: torch.Generator) -> Iterator[Tensor]:
    for rows in row_blocks(y.numel()):
        label = y[rows]
        yield torch.randn(label.numel(), centres.size(1), generator=generator).mul_(noise).add_(centres[label])


def edge_pieces(
    y: Tensor, count: int, homophily: float, exponent: float | None, generator: torch.Generator
) -> Iterator[np.ndarray]:
    draw: Any = EdgeDraw(y, homophily, exponent, generator)
    for start in range(0, count, CHUNK):
        keys = draw(min(CHUNK, count - start))
        low = torch.div(keys, y.numel(), rounding_mode="floor")
        yield torch.stack([low, keys - low * y.numel()]).numpy()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: those of a distributed run all ask for the same graph."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(folder.name + ".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
