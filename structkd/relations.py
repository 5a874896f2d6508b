"""Who is whose neighbour: callables that fill in a Structure's relations.

Each returns a shallow copy with `edge_index` [2, E] (source -> target) and, where it has one, `edge_weight` [E];
the structure it was given stays as it is. Where there is a `batch` vector, relations stay within a sample. Empty and
single-element structures get no edges.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from structkd.errors import ConfigError, DataError, WiringError
from structkd.ops.knn import knn
from structkd.structure import Structure


def _read(structure: Structure, name: str, reader: str) -> Tensor:
    value = structure.get(name)
    if value is None:
        raise WiringError(
            f"{reader} reads {name} of a structure that provides only "
            f"{', '.join(sorted(structure.provides)) or 'nothing'}."
        )
    return value


def _related(structure: Structure, edge_index: Tensor, edge_weight: Tensor | None = None) -> Structure:
    related = copy.copy(structure)
    related.edge_index = edge_index
    if edge_weight is not None:
        related.edge_weight = edge_weight
    elif "edge_weight" in related:
        del related.edge_weight  # it belonged to other edges
    return related


@dataclass(frozen=True)
class Given:
    """The relations that are there: a graph's own edges."""

    def __call__(self, structure: Structure) -> Structure:
        _read(structure, "edge_index", "Given")
        return copy.copy(structure)


@dataclass(frozen=True)
class KNN:
    """The k nearest elements -> each element, in feature space or in space.

    Args:
        k: neighbours, or as many as the sample has.
        space: field to measure in, "x" or "pos".
        metric: "euclidean" or "cosine".
    """

    k: int
    space: str = "x"
    metric: str = "euclidean"

    def __call__(self, structure: Structure) -> Structure:
        rows = _read(structure, self.space, "KNN").detach()
        index, _ = knn(rows, self.k, batch_x=structure.get("batch"), metric=self.metric)
        return _related(structure, index.flip(0))


@dataclass(frozen=True)
class Radius:
    """The elements within a distance -> each element, the nearest `max_neighbors` of them.

    Args:
        r: largest distance, in the units of `space` (metres for points), itself included.
        space: field to measure in.
        max_neighbors: bound on the edges of a dense spot.
    """

    r: float
    space: str = "pos"
    max_neighbors: int = 32

    def __call__(self, structure: Structure) -> Structure:
        rows = _read(structure, self.space, "Radius").detach()
        index, distance = knn(rows, self.max_neighbors, batch_x=structure.get("batch"))
        return _related(structure, index[:, distance <= self.r].flip(0))


@dataclass(frozen=True)
class Grid:
    """Cells of an image or BEV grid that touch, from `pos` [N, 2] of integers (row, column); cells may be missing.

    Args:
        connectivity: 4 for cells that share a side, 8 for those that share a corner too.
    """

    connectivity: int = 4

    def __call__(self, structure: Structure) -> Structure:
        if self.connectivity not in (4, 8):
            raise ConfigError(f"Grid(connectivity={self.connectivity}): expected 4 or 8.")
        cell = _read(structure, "pos", "Grid").long()
        if cell.dim() != 2 or cell.size(1) != 2:
            raise DataError(f"Grid: pos has shape {tuple(cell.shape)}; expected [N, 2], row and column.")
        if cell.size(0) == 0:
            return _related(structure, cell.new_zeros(2, 0))
        cell = cell - cell.amin(0)
        height, width = (int(size) + 2 for size in cell.amax(0))  # a margin, so that no step wraps around
        batch = structure.get("batch")
        sample = 0 if batch is None else batch.long() * height
        key = (sample + cell[:, 0]) * width + cell[:, 1]
        known, order = key.sort()
        if bool((known[1:] == known[:-1]).any()):
            raise DataError("Grid: two elements of a sample have the same pos; a cell holds one element.")
        steps = [(-1, 0), (0, -1), (0, 1), (1, 0)]
        if self.connectivity == 8:
            steps += [(-1, -1), (-1, 1), (1, -1), (1, 1)]
        source = []
        for down, right in steps:
            wanted = key + down * width + right
            at = torch.searchsorted(known, wanted).clamp(max=known.numel() - 1)
            source.append(torch.where(known[at] == wanted, order[at], -1))
        neighbours = torch.stack(source, 1)
        there = neighbours >= 0
        target = torch.arange(cell.size(0), device=cell.device).unsqueeze(1).expand_as(neighbours)
        return _related(structure, torch.stack([neighbours[there], target[there]]))


@dataclass(frozen=True)
class Routing:
    """Each element -> the experts (rows of `x_dst`) it is sent to, weighted by their gates.

    Args:
        k: experts an element is sent to: those with the largest gates.
        gates: field [N, M] with the gate of each element for each expert. Its gradient reaches `edge_weight`.
    """

    k: int
    gates: str = "gates"

    def __call__(self, structure: Structure) -> Structure:
        gates = _read(structure, self.gates, "Routing")
        if not 1 <= self.k <= gates.size(1):
            raise ConfigError(f"Routing(k={self.k}): expected 1 to {gates.size(1)}, the number of experts.")
        weight, expert = gates.topk(self.k, dim=1)
        element = torch.arange(gates.size(0), device=gates.device).unsqueeze(1).expand_as(expert)
        return _related(structure, torch.stack([element.flatten(), expert.flatten()]), weight.flatten())


@dataclass(frozen=True)
class Chain:
    """Each element -> the next one of its sample, in the order they stand: stages, time steps."""

    def __call__(self, structure: Structure) -> Structure:
        size = structure.num_elements
        batch = structure.get("batch")
        source = torch.arange(max(size - 1, 0), device=None if batch is None else batch.device)
        edge_index = torch.stack([source, source + 1])
        if batch is not None:
            edge_index = edge_index[:, batch[:-1] == batch[1:]]
        return _related(structure, edge_index)
