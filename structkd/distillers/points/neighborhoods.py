"""Which elements a distiller for point clouds asks about, how much each counts, and who its neighbours are."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from structkd.distillers.elements import Rows
from structkd.errors import WiringError
from structkd.ops.knn import knn
from structkd.ops.precision import accumulator

IMPORTANCE = ("count", "activation")
REWEIGHT = ("log", "zscore", "rank", "raw")
SPACE = ("feature", "position", "both")


class Neighborhoods(NamedTuple):
    """The edges of a distiller.

    Attributes:
        center: [N] row of each element asked about.
        neighbors: [N, K] rows of its neighbours, nearest first.
        weight: [N] how much it counts, N in sum; None for ones.
    """

    center: Tensor
    neighbors: Tensor
    weight: Tensor | None


def importance_of(rows: Rows, kind: str, reader: str) -> Tensor:
    """[N] importance of each element: points in its cell ("count"), or its largest feature ("activation")."""
    if kind == "activation":
        return rows.x.amax(1)
    if rows.importance is None:
        raise WiringError(
            f"{reader}(importance='count') reads how many points lie in each element, which a map of cells does not "
            "tell. Use importance='activation'."
        )
    return rows.importance


def most_important(importance: Tensor, x: Tensor, n: int | float) -> Tensor:
    """Rows of the largest importance, in falling order.

    Equal ones (two pillars of five hold a single point) are taken by their largest feature, and only then by row.

    Args:
        importance: [M].
        x: [M, C] features.
        n: how many (int) or which share of them (float, rounded up); no more than there are.
    """
    wanted = n if isinstance(n, int) else math.ceil(n * x.size(0) - 1e-9)  # .1 of 30 are 3, whatever their product
    order = x.amax(1).argsort(descending=True, stable=True)
    return order[importance[order].argsort(descending=True, stable=True)][:wanted]


def importance_weights(importance: Tensor, tau: float, kind: str) -> Tensor:
    r"""[N] weights N softmax(s / tau), N in sum.

    Args:
        importance: [N] of the elements asked about.
        tau: temperature; the scores s have unit variance, except "raw" ones.
        kind: s is the standardised importance ("zscore"), its sign times log(1 + size), standardised ("log"), its
            rank, standardised and shared by equals ("rank"), or the importance as it is ("raw"). Standardised scores
            of equal importances are zero.
    """
    score = importance.to(accumulator(importance)) if importance.is_floating_point() else importance.float()
    if kind == "log":
        score = score.sign() * score.abs().log1p()
    elif kind == "rank":
        _, place, count = score.unique(return_inverse=True, return_counts=True)
        score = (count.cumsum(0) - (count - 1) / 2)[place].to(score.dtype)
    if kind != "raw":
        largest, score = score.abs().amax(), score - score.mean()
        spread = score.square().mean().sqrt()
        # Equal importances leave rounding errors, which must not be blown up.
        score = torch.where(spread > 1e-6 * largest, score / spread, 0)
    return torch.softmax(score / tau, 0) * score.numel()


def nearest_to(rows: Rows, center: Tensor, k: int, space: str, reader: str) -> Tensor:
    """[N, K] the nearest of `rows` to each centre, itself among them; K is `k` or as many as there are.

    Args:
        space: distances of features, of positions, or of both side by side, each divided by its own spread.
    """
    dtype, parts = accumulator(rows.x), []
    if space != "position":
        parts.append(rows.x.to(dtype))
    if space != "feature":
        if rows.pos is None:
            raise WiringError(f"{reader}(space={space!r}) reads pos of the teacher, whose structure has none.")
        parts.append(rows.pos.to(dtype))
    if len(parts) > 1:
        parts = [part / (part - part.mean(0)).square().sum(1).mean().sqrt().clamp(min=1e-6) for part in parts]
    points = torch.cat(parts, 1)
    found, _ = knn(points, k, y=points[center])
    return found[1].view(center.numel(), min(k, points.size(0)))
