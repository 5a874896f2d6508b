"""Graphs of any size made from a seed: stochastic block model with power-law degrees."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from structkd.datasets.epochs import seeded
from structkd.datasets.graphs.build import both_directions
from structkd.errors import ConfigError, nearest

#: Sizes of well-known graphs: nodes, undirected edges, features, classes.
SIZES: dict[str, dict[str, Any]] = {
    "arxiv": {"num_nodes": 169_343, "num_edges": 1_170_000, "num_features": 128, "num_classes": 40},
    "products": {"num_nodes": 2_449_029, "num_edges": 61_900_000, "num_features": 100, "num_classes": 47},
}
#: Edges drawn at a time; bounds the memory of what is drawn and thrown away.
CHUNK = 2**22


def synthetic_graph(
    size: str | None = None,
    *,
    num_nodes: int = 1000,
    num_edges: int = 5000,
    num_features: int = 32,
    num_classes: int = 5,
    homophily: float = 0.7,
    exponent: float | None = 2.5,
    noise: float = 4.0,
    seed: int = 0,
) -> Data:
    """A degree-corrected stochastic block model (Karrer and Newman 2011, arXiv:1008.3926) with Gaussian features.

    One end of an edge is drawn with probability proportional to the node's weight; the other end likewise, with
    probability `homophily` among the nodes of the same class, else among all. The features of a node are its class's
    standard normal centre plus noise, so that neighbours tell more than the node itself.

    Args:
        size: "arxiv" (169343 nodes, 1.17 M edges, 128 features, 40 classes) or "products" (2449029, 61.9 M, 100, 47;
            a few minutes and 4 GB on one core); sets the four numbers. None: as given.
        num_nodes, num_edges, num_features, num_classes: exactly these are made; edges are undirected and distinct.
        homophily: share of edges that stay in the class by choice, 0 to 1.
        exponent: of the power law that node weights follow, above 2; None gives all nodes the same weight.
        noise: standard deviation of the features around their class's centre.
        seed: the graph is a function of the arguments.

    Returns:
        `Data` with `x` [N, F], `edge_index` [2, 2 E] and `y` [N].
    """
    if size is not None:
        if size not in SIZES:
            raise ConfigError(f"synthetic_graph(size={size!r}): there is no such size. {nearest(size, SIZES)}")
        return synthetic_graph(**SIZES[size], homophily=homophily, exponent=exponent, noise=noise, seed=seed)
    check_model("synthetic_graph", num_nodes, num_edges, num_features, num_classes, homophily, exponent)
    generator = seeded(seed)
    y = torch.arange(num_nodes).remainder_(num_classes)[torch.randperm(num_nodes, generator=generator)]
    edge_index = both_directions(*_draw_edges(y, num_edges, homophily, exponent, generator))
    centres = torch.randn(num_classes, num_features, generator=generator)
    x = torch.randn(num_nodes, num_features, generator=generator).mul_(noise)
    for rows in torch.arange(num_nodes).split(CHUNK // max(num_features, 1) + 1):
        x[rows] += centres[y[rows]]
    return Data(x=x, edge_index=edge_index, y=y)


def check_model(
    name: str,
    num_nodes: int,
    num_edges: int,
    num_features: int,
    num_classes: int,
    homophily: float,
    exponent: float | None,
) -> None:
    """Raise a `ConfigError` that names the function `name` where its arguments describe no graph."""
    if not (0 <= homophily <= 1 and (exponent is None or exponent > 2) and 1 <= num_classes <= num_nodes):
        raise ConfigError(
            f"{name}(homophily={homophily}, exponent={exponent}, num_classes={num_classes}): expected "
            "homophily in [0, 1], an exponent above 2 or None, and 1 to num_nodes classes."
        )
    if 4 * num_edges > num_nodes * (num_nodes - 1) // 2:
        raise ConfigError(
            f"{name}(num_nodes={num_nodes}, num_edges={num_edges}): expected at most a quarter of all pairs."
        )


def _draw_edges(
    y: Tensor, count: int, homophily: float, exponent: float | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """`count` distinct pairs u < v in lexicographic order."""
    nodes = y.numel()
    draw = EdgeDraw(y, homophily, exponent, generator)
    keys = torch.empty(0, dtype=torch.long)
    for _ in range(100):
        missing = count - keys.numel()
        if missing <= 0:
            break
        fresh = [keys]
        for first in range(0, missing, CHUNK):
            size = min(CHUNK, missing - first) + 16
            fresh.append(draw(size))
        keys = torch.cat(fresh)
        del fresh
        keys = keys.unique()
    if keys.numel() < count:
        raise ConfigError(
            f"synthetic_graph: only {keys.numel()} of {count} distinct edges could be drawn; "
            "lower the homophily or num_edges, or ask for fewer classes."
        )
    if keys.numel() > count:
        surplus = torch.randperm(keys.numel(), generator=generator)[: keys.numel() - count]
        keep = torch.ones(keys.numel(), dtype=torch.bool)
        keep[surplus] = False
        keys = keys[keep]
    low = torch.div(keys, nodes, rounding_mode="floor")
    return low, keys.sub_(low * nodes)


class EdgeDraw:
    """Draws edges of the model one batch after another; duplicates are the caller's to remove.

    Args:
        y: [N] classes, each of them used.
        homophily, exponent: see `synthetic_graph`.
        generator: source of randomness; the weights of the nodes come from it first.
    """

    def __init__(self, y: Tensor, homophily: float, exponent: float | None, generator: torch.Generator) -> None:
        self.y, self.homophily, self.generator, nodes = y, homophily, generator, y.numel()
        weight = torch.ones(nodes, dtype=torch.float64)
        if exponent is not None:
            # Capped at sqrt(N): heavier hubs would draw the same few pairs again and again.
            draws = torch.rand(nodes, dtype=torch.float64, generator=generator)
            weight = (1 - draws).pow_(-1 / (exponent - 1)).clamp_(max=nodes**0.5)
        self.by_class = torch.argsort(y, stable=True)
        self.ends = weight[self.by_class].cumsum(0)
        last = torch.bincount(y).cumsum(0) - 1  # last place of each class in `by_class`
        self.stop = self.ends[last]
        self.start = torch.cat([self.stop.new_zeros(1), self.stop[:-1]])

    def __call__(self, size: int) -> Tensor:
        """The keys low * N + high of `size` edges, those without the loops among them."""
        generator = self.generator
        source = self._pick(torch.rand(size, dtype=torch.float64, generator=generator) * self.ends[-1])
        label = self.y[source]
        inside = torch.rand(size, generator=generator) < self.homophily
        low = torch.where(inside, self.start[label], 0.0)
        high = torch.where(inside, self.stop[label], self.ends[-1])
        point = low + (high - low) * torch.rand(size, dtype=torch.float64, generator=generator)
        target = self._pick(point)
        key = torch.minimum(source, target) * self.y.numel() + torch.maximum(source, target)
        return key[source != target]

    def _pick(self, point: Tensor) -> Tensor:
        """The nodes into whose stretch of the weight line the points fall."""
        return self.by_class[torch.searchsorted(self.ends, point, right=True).clamp_(max=self.ends.numel() - 1)]
