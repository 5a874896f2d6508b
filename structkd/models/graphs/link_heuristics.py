"""Link prediction without learning: how two nodes' neighbourhoods meet, for given pairs only.

Neighbourhoods are those of the simple graph: loops and parallel edges do not count. Every function takes pairs
[2, P] and edges [2, E] (undirected: both directions listed) over `num_nodes` nodes and returns float32 scores [P].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from structkd.errors import ConfigError, nearest
from structkd.ops.csr import CSR, check_ids, row_entries
from structkd.ops.memo import TensorMemo
from structkd.ops.segment import segment_sum
from structkd.ops.spmm import spmm

#: Neighbours, or nodes times sources, looked at together.
BUDGET = 1 << 22


def common_neighbors(pairs: Tensor, edge_index: Tensor, num_nodes: int) -> Tensor:
    """Number of nodes adjacent to both (Newman 2001)."""
    return _shared(pairs, edge_index, num_nodes, lambda degree: torch.ones_like(degree))


def adamic_adar(pairs: Tensor, edge_index: Tensor, num_nodes: int) -> Tensor:
    """Sum over shared neighbours of 1 / log(degree) (Adamic and Adar 2003); a neighbour of degree 1 counts 0."""
    return _shared(pairs, edge_index, num_nodes, lambda degree: torch.where(degree > 1, 1 / degree.log(), 0.0))


def resource_allocation(pairs: Tensor, edge_index: Tensor, num_nodes: int) -> Tensor:
    """Sum over shared neighbours of 1 / degree (Zhou et al. 2009)."""
    return _shared(pairs, edge_index, num_nodes, lambda degree: 1 / degree.clamp(min=1))


def capped_shortest_path(pairs: Tensor, edge_index: Tensor, num_nodes: int, cap: int = 6) -> Tensor:
    """1 / distance, 0 beyond `cap` hops; a node is as close to itself as to a neighbour, 1.

    Breadth-first search from each different first node of the pairs, a sparse product a level: O(E) work and O(N)
    memory for each, `cap` times at most. A pair that is an edge has distance 1.
    """
    csr = _graph(pairs, edge_index, num_nodes)
    sources, column = pairs[0].unique(return_inverse=True)
    score = torch.zeros(pairs.size(1), device=pairs.device)
    score[pairs[0] == pairs[1]] = 1.0
    width = max(1, BUDGET // max(num_nodes, 1))
    for start in range(0, sources.numel(), width):
        chunk = sources[start : start + width]
        mine = ((column >= start) & (column < start + width) & (pairs[0] != pairs[1])).nonzero().flatten()
        ends, columns = pairs[1, mine], column[mine] - start
        front = torch.zeros(num_nodes, chunk.numel(), device=pairs.device)
        front[chunk, torch.arange(chunk.numel(), device=pairs.device)] = 1.0
        seen = front > 0
        for distance in range(1, cap + 1):
            front = ((spmm(csr, front) > 0) & ~seen).float()
            seen |= front > 0
            score[mine[front[ends, columns] > 0]] = 1.0 / distance
            if bool((score[mine] > 0).all()):
                break
    return score


HEURISTICS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "common_neighbors": common_neighbors,
    "adamic_adar": adamic_adar,
    "resource_allocation": resource_allocation,
    "capped_shortest_path": capped_shortest_path,
}


class HeuristicTeacher(nn.Module):
    """A heuristic with the signature of `LinkModel`, so that it can stand where a GNN teacher would.

    Args:
        heuristic: a name in `HEURISTICS`.

    Shapes: `forward(x [N, F], pairs [2, P], edge_index [2, E])` returns `{"logits": [P]}`; of `x` only the number of
    rows matters. The scores are the heuristic's own (`EHDM` reads them so), not logits. Held-out links must not be in
    `edge_index`; training links are, as in the authors' code, so their path has length 1.

    Differences: the authors of EHDM score a node's distance to itself 999, above all others, and unreachable pairs
    1/999; here they are 1 and 0.
    """

    def __init__(self, heuristic: str = "common_neighbors") -> None:
        super().__init__()
        if heuristic not in HEURISTICS:
            raise ConfigError(
                f"HeuristicTeacher(heuristic={heuristic!r}) is not known. {nearest(heuristic, HEURISTICS)}"
            )
        self.heuristic = heuristic

    def forward(self, x: Tensor, pairs: Tensor, edge_index: Tensor) -> dict[str, Tensor]:
        return {"logits": HEURISTICS[self.heuristic](pairs, edge_index, x.size(0))}


def _shared(pairs: Tensor, edge_index: Tensor, num_nodes: int, worth: Callable[[Tensor], Tensor]) -> Tensor:
    """Sum of `worth(degree)` over the shared neighbours of each pair.

    The neighbours of the end with fewer are looked up, by bisection, among the other's: O(min degree * log E) a pair.
    """
    csr = _graph(pairs, edge_index, num_nodes)
    degree = csr.degree()
    weight = worth(degree.float())
    links = csr.row * num_nodes + csr.col  # ascending, see `_simple`
    fewer = degree[pairs[0]] <= degree[pairs[1]]
    few, many = torch.where(fewer, pairs[0], pairs[1]), torch.where(fewer, pairs[1], pairs[0])
    score = torch.zeros(pairs.size(1), device=pairs.device)
    if links.numel() == 0:
        return score
    _, sizes = (degree[few].cumsum(0) // BUDGET).unique_consecutive(return_counts=True)
    for part in torch.arange(pairs.size(1), device=pairs.device).split(sizes.tolist()):
        rowptr, entries = row_entries(csr.rowptr, few[part])
        owner = torch.arange(part.numel(), device=pairs.device).repeat_interleave(rowptr.diff())
        between = csr.col[entries]
        wanted = many[part][owner] * num_nodes + between
        place = torch.searchsorted(links, wanted).clamp(max=links.numel() - 1)
        found = (links[place] == wanted) * weight[between]
        score[part] = segment_sum(found, owner, part.numel())
    return score


def _graph(pairs: Tensor, edge_index: Tensor, num_nodes: int) -> CSR:
    check_ids("pairs", pairs, num_nodes)
    return _simple_graph(edge_index, num_nodes)


def _simple(edge_index: Tensor, num_nodes: int) -> CSR:
    """The edges without loops and repeats, sorted by target and then by source."""
    check_ids("edge_index", edge_index, num_nodes)
    source, target = edge_index[:, edge_index[0] != edge_index[1]]
    links = (target * num_nodes + source).unique()
    return CSR.from_edges(torch.stack([links % num_nodes, links // num_nodes]) if num_nodes else edge_index, num_nodes)


_simple_graph = TensorMemo(_simple)
