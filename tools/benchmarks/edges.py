"""Distillation of edges between pillars: nearest neighbours, edge layers and their loss against the published form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import Comparison
from structkd.distillers import PointDistiller
from structkd.ops import edge_difference, knn
from structkd.structure import Structure

#: Candidates, queries, neighbours.
COUNTS = {"small": (400, 200, 16), "kitti": (14_000, 6_000, 128)}
TEACHER, STUDENT, OUT = 64, 32, 32
Sides = tuple[Callable[[], Sequence[Tensor]], Callable[[], Sequence[Tensor]]]


class Pillars(NamedTuple):
    """Features of one batch's pillars on both sides, how many points each holds, and a distiller as published."""

    student: Tensor
    teacher: Tensor
    count: Tensor
    distiller: PointDistiller


def pillars(size: str) -> Pillars:
    """Pillar features are maxima behind a ReLU, so never negative; two of five pillars hold a single point."""
    torch.manual_seed(0)
    candidates, queries, neighbors = COUNTS[size]
    x_s, x_t = (torch.randn(candidates, channels).relu() for channels in (STUDENT, TEACHER))
    count = torch.empty(candidates).geometric_(0.4).clamp(max=32) + 0.5 * torch.rand(candidates)  # no two the same
    # A temperature at which many pillars have a say; it changes nothing in the time of either side.
    distiller = PointDistiller(STUDENT, TEACHER, OUT, n=queries, k=neighbors, tau=10.0, mode="reference")
    return Pillars(x_s, x_t, count, distiller)


def nearest(x: Tensor, center: Tensor, k: int) -> Tensor:
    """As published: one matrix of all distances."""
    y = x[center]
    distance = -2 * y @ x.t()
    distance += y.square().sum(1, keepdim=True)
    distance += x.square().sum(1)
    return distance.topk(k, dim=1, largest=False, sorted=False).indices


def edges(x: Tensor, center: Tensor, index: Tensor, layer: torch.nn.Module) -> Tensor:
    """As published: neighbour and centre side by side on every edge, 1x1 convolution, batch normalisation, ReLU."""
    near = x[index].permute(2, 0, 1).unsqueeze(0).contiguous()
    own = x[center].t()[None, :, :, None].repeat(1, 1, 1, index.size(1))
    out = F.conv2d(torch.cat([near, own], 1), layer.weight[:, :, None, None])
    return F.batch_norm(out, layer.running_mean, layer.running_var, layer.gamma, layer.beta, training=True).relu()


def published_loss(data: Pillars, x: Tensor, center: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    theirs = edges(data.teacher, center, index, data.distiller.teacher_edges)
    ours = edges(x, center, index, data.distiller.student_edges)
    return 2 * (F.mse_loss(ours, theirs, reduction="none") * weight.view(1, 1, -1, 1)).mean()


def factored_loss(data: Pillars, x: Tensor, center: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    ours = data.distiller.student_edges(x, center, index)
    theirs = data.distiller.teacher_edges(data.teacher, center, index)
    return 2 * edge_difference(ours, theirs, index, weight) / (index.numel() * OUT)


def queries(data: Pillars, size: str) -> tuple[Tensor, Tensor]:
    """Rows of the fullest pillars, and their weights."""
    top = data.count.topk(COUNTS[size][1])
    return top.indices, torch.softmax(top.values / data.distiller.tau, 0) * top.values.numel()


def step(data: Pillars, loss: Callable[[Tensor], Tensor]) -> Sequence[Tensor]:
    """Value, and gradients by the student's features and both layers."""
    x = data.student.detach().requires_grad_()
    value = loss(x)
    return [value.detach(), *torch.autograd.grad(value, [x, *data.distiller.parameters()])]


def edge_layer_sides(size: str) -> Sides:
    data = pillars(size)
    center, weight = queries(data, size)
    k = COUNTS[size][2]
    index = knn(data.teacher, k, y=data.teacher[center])[0][1].view(-1, k)
    losses = (
        partial(form, data, center=center, index=index, weight=weight) for form in (published_loss, factored_loss)
    )
    old, new = (partial(step, data, loss) for loss in losses)
    return old, new


def knn_sides(size: str) -> Sides:
    data = pillars(size)
    center, _ = queries(data, size)
    x, k = data.teacher, COUNTS[size][2]

    def sums(find: Callable[[], Tensor]) -> Sequence[Tensor]:
        """One number a query, whatever the order of its neighbours."""
        return [data.count[find()].sum(1)]

    return (
        partial(sums, lambda: nearest(x, center, k)),
        partial(sums, lambda: knn(x, k, y=x[center])[0][1].view(-1, k)),
    )


def distiller_sides(size: str) -> Sides:
    data = pillars(size)
    teacher = Structure(x=data.teacher, importance=data.count)

    def published(x: Tensor) -> Tensor:
        center, weight = queries(data, size)
        return published_loss(data, x, center, nearest(data.teacher, center, COUNTS[size][2]), weight)

    return (
        partial(step, data, published),
        partial(step, data, lambda x: data.distiller(Structure(x=x), teacher)["edge"]),
    )


COMPARISONS = [
    Comparison(
        "edge layers",
        edge_layer_sides,
        faster=5,
        smaller=5,
        asked_at=("kitti",),
        about="forward + backward of two edge layers (64 and 32 to 32 channels) and their weighted squared difference, "
        "neighbours given; concatenation on every edge against terms of points, in blocks",
    ),
    Comparison(
        "neighbours by features",
        knn_sides,
        faster=1,
        asked_at=("kitti",),
        about="64 channels; one float32 matrix of all distances and topk against tiles of float64, sorted, with ties "
        "in order",
    ),
    Comparison(
        "PointDistiller loss",
        distiller_sides,
        about="forward + backward from features to gradients: queries, neighbours, edge layers, loss",
    ),
]
