"""GNN-to-MLP distillation: losses against their published forms, aggregation, memory at scale, inference latency."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torch_geometric.data import Data

from benchmarks.harness import Alone, Benchmark, Comparison, Row, Setting
from structkd.datasets import synthetic_graph
from structkd.distillers import FFG2M
from structkd.evaluation.efficiency import count_macs, count_parameters, node_latency
from structkd.losses import (
    edge_reconstruction,
    gram_mse,
    high_frequency,
    low_frequency,
    low_frequency_edges,
    neighbor_targets,
)
from structkd.models import MLP, GraphSAGE
from structkd.ops import csr_of, spmm
from structkd.structure import Structure

SIZES = {
    "small": "2,000 nodes, 8,000 edges, 10 classes: a trial",
    "arxiv": "169,343 nodes, 1.17 M edges, 40 classes, like ogbn-arxiv",
    "products": "2,449,029 nodes, 61.9 M edges, 47 classes, like ogbn-products: one epoch only",
}
TAU = 1.2
BATCHES = (1, 128, 4096)
Sides = tuple[Callable[[], Sequence[Tensor]], Callable[[], Sequence[Tensor]]]


def graph(size: str) -> Data:
    if size == "small":
        return synthetic_graph(num_nodes=2000, num_edges=8000, num_features=32, num_classes=10)
    return synthetic_graph(size)


def logits(size: str) -> tuple[Tensor, Tensor, Tensor]:
    """A student's and a teacher's logits, and the edges in both directions."""
    torch.manual_seed(0)
    data = graph(size)
    z_s, z_t = torch.randn(2, data.x.size(0), int(data.y.max()) + 1)
    return z_s, z_t, data.edge_index


def forward_backward(loss: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """Value and gradient."""
    z = z.detach().requires_grad_()
    value = loss(z)
    value.backward()
    return value.detach(), z.grad


def low_frequency_sides(size: str) -> Sides:
    z_s, z_t, edge_index = logits(size)
    p_t = z_t.softmax(-1)
    targets = neighbor_targets(p_t, edge_index)
    return (
        partial(forward_backward, lambda z: low_frequency_edges(z, p_t, edge_index), z_s),
        partial(forward_backward, lambda z: low_frequency(z, targets), z_s),
    )


def published_high_frequency(z_s: Tensor, z_t: Tensor, edge_index: Tensor) -> Tensor:
    """The high-frequency loss as one writes it down: gathers, two log-softmaxes and a divergence over [E, C]."""
    i, j = edge_index
    student = F.log_softmax((z_s[i] - z_s[j]).abs() / TAU, dim=-1)
    teacher = F.log_softmax((z_t[i] - z_t[j]).abs() / TAU, dim=-1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def high_frequency_sides(size: str) -> Sides:
    z_s, z_t, edge_index = logits(size)
    return (
        partial(forward_backward, lambda z: published_high_frequency(z, z_t, edge_index), z_s),
        partial(forward_backward, lambda z: high_frequency(z, z_t, edge_index, TAU), z_s),
    )


def aggregation_sides(size: str) -> Sides:
    _, x, edge_index = logits(size)
    csr = csr_of(edge_index, x.size(0))
    weight = torch.randn_like(x)

    def run(backend: str) -> Sequence[Tensor]:
        return forward_backward(lambda z: (spmm(csr, z, backend=backend) * weight).sum(), x)

    return partial(run, "gather"), partial(run, "csr")


def gram_sides(size: str) -> Sides:
    torch.manual_seed(0)
    g_s, g_t = torch.randn(2, 512 if size == "small" else 4096, 128)

    def published(g: Tensor) -> Tensor:
        return (g @ g.t() - g_t @ g_t.t()).square().mean()

    return partial(forward_backward, published, g_s), partial(forward_backward, lambda g: gram_mse(g, g_t), g_s)


def reconstruction_sides(size: str) -> Sides:
    torch.manual_seed(0)
    nodes = 500 if size == "small" else 8192
    z = torch.randn(nodes, 128)
    edge_index = torch.randint(nodes, (2, 8 * nodes))

    def published(z: Tensor) -> Tensor:
        adjacency = z.new_zeros(nodes, nodes).index_put_(tuple(edge_index), z.new_ones(1), accumulate=True)
        products = z @ z.t()
        low, high = products.min(), products.max()
        return F.mse_loss((products - low) / (high - low), adjacency).sqrt()

    return (
        partial(forward_backward, published, z),
        partial(forward_backward, lambda z: edge_reconstruction(z, edge_index), z),
    )


def epoch(size: str, say: Callable[[str], None]) -> dict[str, float]:
    """One full-batch epoch of FF-G2M: prepare the teacher's targets, student forward, both losses, backward, Adam.

    The student runs in blocks of rows that are computed again in backward, so that of its hidden layers only one
    block is ever held; the result is that of one large batch.
    """
    say("epoch: making the graph")
    data = graph(size)
    classes = int(data.y.max()) + 1
    teacher = Structure(logits=F.one_hot(data.y, classes).float().add_(torch.randn(data.x.size(0), classes)))
    teacher.edge_index = data.edge_index
    student = MLP(in_channels=data.x.size(1), hidden_channels=256, out_channels=classes, num_layers=3, dropout=0.2)
    optimizer = torch.optim.Adam(student.parameters())
    distiller = FFG2M(tau=TAU)
    figures = {}
    start = time.perf_counter()

    def lap(name: str) -> None:
        figures[f"{name}_s"] = time.perf_counter() - start - sum(figures.values())
        say(f"epoch: {name} took {figures[f'{name}_s']:.1f} s")

    teacher = distiller.prepare(teacher)
    lap("targets")
    blocks = data.x.split(65536)
    z_s = torch.cat([checkpoint(student, block, use_reentrant=False) for block in blocks])
    lap("student_forward")
    losses = distiller(Structure(logits=z_s, edge_index=data.edge_index), teacher)
    lap("losses")
    sum(losses.values()).backward()
    optimizer.step()
    lap("backward")
    loss = float(sum(losses.values()).detach())
    return {"seconds": time.perf_counter() - start, "loss": loss, "edges": data.edge_index.size(1) / 2, **figures}


class Latency:
    """Milliseconds for the predictions of a batch of nodes: a GNN against the student, neighbour gathering apart."""

    name = "inference latency"
    about = "3-layer GraphSAGE with all neighbours against a 3-layer MLP, 256 hidden features"

    def measure(self, setting: Setting) -> list[Row]:
        setting.say(f"{self.name}: preparing")
        data = graph(setting.size)
        classes = int(data.y.max()) + 1
        shape = {"in_channels": data.x.size(1), "hidden_channels": 256, "out_channels": classes, "num_layers": 3}
        gnn, student = GraphSAGE(**shape), MLP(**shape)
        rows = [self._count("parameters", count_parameters(gnn), count_parameters(student))]
        whole = count_macs(gnn, data.x, data.edge_index), count_macs(student, data.x)
        rows.append(self._count("MACs for all nodes, millions", *(macs / 1e6 for macs in whole)))
        for size in BATCHES:
            setting.say(f"{self.name}: batches of {size}")
            repeats = {"repeats": max(setting.repeats, 3), "warmup": 2}
            old = node_latency(gnn, data, (size,), hops=3, **repeats)[str(size)]
            new = node_latency(student, data, (size,), **repeats)[str(size)]
            detail = {"about": self.about, "baseline": old, "candidate": new}
            for part in ("fetch", "compute"):
                what = f"{size} nodes, {'gathering' if part == 'fetch' else 'computing'}, ms"
                rows.append(Row(self.name, what, old[part], new[part], old[part] / new[part], detail=detail))
            totals = [side["fetch"] + side["compute"] for side in (old, new)]
            rows.append(Row(self.name, f"{size} nodes, both, ms", *totals, totals[0] / totals[1]))
        return rows

    def part(self, setting: Setting, part: str) -> dict[str, Any]:
        raise NotImplementedError

    def _count(self, what: str, old: float, new: float) -> Row:
        return Row(self.name, what, old, new, old / new)


_EPOCH = Alone(
    "FF-G2M epoch",
    epoch,
    limit_gb=20,
    asked_at=("products",),
    about="full batch, 3-layer MLP with 256 hidden features, both losses, Adam; the graph's own making is part of the "
    "peak but not of the time",
)
_COMPARISONS = [
    Comparison(
        "low-frequency loss",
        low_frequency_sides,
        faster=25,
        asked_at=("arxiv",),
        about="forward + backward; gathers over E + N against the precomputed neighbour targets",
    ),
    Comparison(
        "high-frequency loss",
        high_frequency_sides,
        faster=2.5,
        smaller=20,
        asked_at=("arxiv",),
        about="forward + backward; gathers over E against chunks of undirected pairs. Time: pairs remembered from the "
        "first call; memory: first call, finding the pairs included",
    ),
    Comparison("neighbour sum", aggregation_sides, about="forward + backward; gather + index_add against CSR product"),
    Comparison("Gram loss", gram_sides, about="forward + backward; B x B matrices against d x d, float64"),
    Comparison("edge reconstruction", reconstruction_sides, about="forward + backward; N x N matrices against tiles"),
]


def suite(size: str) -> list[Benchmark]:
    """The benchmarks that make sense at a size."""
    return [_EPOCH] if size == "products" else [*_COMPARISONS, Latency(), _EPOCH]
