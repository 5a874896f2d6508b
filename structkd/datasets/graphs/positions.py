"""DeepWalk position features, which NOSMOG joins to a student's input."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from structkd.datasets.epochs import seeded
from structkd.datasets.graphs.node_data import NodeData
from structkd.errors import ConfigError
from structkd.ops.csr import CSR, csr_of
from structkd.ops.sparse_features import is_sparse

#: Pairs in a step of the skip-gram training: some for each node, so that small graphs get as many steps; and the nodes
#: drawn as noise for all pairs of a step together.
PAIRS, PAIRS_PER_NODE, NOISE = 2**13, 4, 64


def random_walks(csr: CSR, starts: Tensor, length: int, generator: torch.Generator | None = None) -> Tensor:
    """Uniform random walks.

    Args:
        csr: an undirected graph.
        starts: [S] nodes to start from.
        length: nodes in a walk, the start included.
        generator: source of randomness.

    Returns:
        [S, length]; a walk stays where it is at a node without neighbours.
    """
    degree, walks = csr.degree(), [starts]
    for _ in range(length - 1):
        here = walks[-1]
        step = (torch.rand(here.numel(), dtype=torch.float64, generator=generator) * degree[here]).long()
        entry = (csr.rowptr[here] + step).clamp(max=max(csr.num_edges - 1, 0))
        walks.append(torch.where(degree[here] > 0, csr.col[entry], here) if csr.num_edges else here)
    return torch.stack(walks, 1)


@torch.enable_grad()
def deepwalk(
    edge_index: Tensor,
    num_nodes: int,
    dim: int = 64,
    walk_length: int = 50,
    walks_per_node: int = 5,
    window: int = 5,
    epochs: int = 1,
    negatives: int = 5,
    lr: float = 0.01,
    seed: int = 0,
) -> Tensor:
    """DeepWalk vectors (Perozzi et al., KDD 2014, arXiv:1403.6652): skip-gram over random walks.

    Args:
        edge_index: [2, E], both directions of every edge.
        num_nodes: N.
        dim: length of a vector.
        walk_length, walks_per_node: nodes in a walk, walks from each node in an epoch.
        window: nodes up to this far apart in a walk are context of each other; as in word2vec, pairs at distance d
            are kept with probability 1 - (d - 1) / window.
        epochs: passes, each over walks of its own.
        negatives: weight of the noise, in nodes a pair; noise is drawn with probability proportional to degree^0.75.
        lr: of (sparse) Adam.
        seed: the vectors are a function of the arguments on one machine.

    Returns:
        [N, dim] float32; zero for nodes without neighbours.

    Differences: DeepWalk and NOSMOG train with hierarchical softmax and SGD; here negative sampling and Adam in plain
    PyTorch, with one draw of noise nodes shared by all pairs of a step.
    """
    for name, value in (("dim", dim), ("walks_per_node", walks_per_node), ("window", window), ("negatives", negatives)):
        if value < 1:
            raise ConfigError(f"deepwalk({name}={value}): expected at least 1.")
    if walk_length < 2:
        raise ConfigError(f"deepwalk(walk_length={walk_length}): expected at least 2.")
    generator = seeded(seed)
    csr = csr_of(edge_index, num_nodes)
    vectors = torch.rand(num_nodes, dim, generator=generator).sub_(0.5).div_(dim).requires_grad_()
    contexts = torch.zeros(num_nodes, dim, requires_grad=True)
    optimizer = torch.optim.SparseAdam([vectors, contexts], lr=lr)
    weight = csr.degree().double().pow(0.75).cumsum(0)
    if csr.num_edges == 0:
        return torch.zeros(num_nodes, dim)
    starts = (csr.degree() > 0).nonzero().view(-1).repeat(walks_per_node)
    batch = max(1, min(PAIRS, PAIRS_PER_NODE * num_nodes) // (walk_length * (window + 1)))
    for _ in range(epochs):
        for rows in torch.randperm(starts.numel(), generator=generator).split(batch):
            source, target = _pairs(random_walks(csr, starts[rows], walk_length, generator), window, generator)
            point = torch.rand(NOISE, dtype=torch.float64, generator=generator) * weight[-1]
            noise = torch.searchsorted(weight, point, right=True).clamp_(max=num_nodes - 1)
            vector, context = F.embedding(source, vectors, sparse=True), F.embedding(target, contexts, sparse=True)
            near = F.logsigmoid((vector * context).sum(1)).sum()
            away = F.logsigmoid(-vector @ F.embedding(noise, contexts, sparse=True).t()).sum()
            loss = -(near + away * (negatives / NOISE)) / source.numel()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    vectors = vectors.detach()
    vectors[csr.degree() == 0] = 0
    return vectors


def _pairs(walks: Tensor, window: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Nodes of a walk and their contexts, both ways round."""
    sources, targets = [], []
    for distance in range(1, min(window, walks.size(1) - 1) + 1):
        ahead, behind = walks[:, distance:].reshape(-1), walks[:, :-distance].reshape(-1)
        for source, target in ((ahead, behind), (behind, ahead)):
            keep = torch.rand(source.numel(), generator=generator) < 1 - (distance - 1) / window
            sources.append(source[keep])
            targets.append(target[keep])
    return torch.cat(sources), torch.cat(targets)


def node_positions(node_data: NodeData, **options: int | float) -> Tensor:
    """[N, dim] DeepWalk vectors of the observed graph, for every node of the full graph.

    A held-out node gets the mean of its observed neighbours' vectors, zero when it has none: a student that reads
    positions therefore needs the edges of a new node when it predicts.

    Args:
        node_data: the graph and its split.
        options: of `deepwalk`.

    Source: NOSMOG (Tian et al., ICLR 2023). Differences: its transductive vectors are shared by all seeds; here
    `seed` is an option like the others.
    """
    graph, observed = node_data.graph, node_data.observed
    vectors = deepwalk(observed.edge_index, observed.n_id.numel(), **options)  # type: ignore[arg-type]
    result = vectors.new_zeros(graph.x.size(0), vectors.size(1))
    result[observed.n_id] = vectors
    held_out = torch.zeros(graph.x.size(0), dtype=torch.bool)
    held_out[node_data.split.ind] = True
    source, target = graph.edge_index
    arriving = held_out[target] & ~held_out[source]
    source, target = source[arriving], target[arriving]
    result.index_add_(0, target, result[source])
    counts = torch.bincount(target, minlength=graph.x.size(0)).clamp(min=1)
    return result / counts[:, None]


def with_positions(node_data: NodeData, **options: int | float) -> NodeData:
    """The same data with `node_positions` joined to the features, which become dense: [N, F + dim]."""
    graph = copy.copy(node_data.graph)
    x = graph.x.to_dense() if is_sparse(graph.x) else graph.x
    graph.x = torch.cat([x, node_positions(node_data, **options).to(x)], 1)
    return NodeData(graph, node_data.split)
