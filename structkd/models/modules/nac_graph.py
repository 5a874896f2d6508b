"""Graph priors of attentive circuits: which latents are neighbours when training begins, and what keeps it that way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from structkd.errors import ConfigError, nearest


def signature_distances(a: Tensor, b: Tensor) -> Tensor:
    """1 - cosine of all pairs, [U, G] and [V, G] -> [U, V] in 0 to 2."""
    return 1 - F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).t()


def scale_free(nodes: int, generator: torch.Generator, m: int = 2) -> Tensor:
    """Each new node ties itself to `m` earlier ones, the more likely the more ties those have (Barabasi and Albert,
    Science 1999); the first m + 1 form a star. [nodes, nodes] bool, symmetric, no loops."""
    if not 1 <= m < nodes:
        raise ConfigError(f"graph scale_free: m={m}, expected 1 to {nodes - 1}.")
    ties = torch.zeros(nodes, nodes, dtype=torch.bool)
    ties[m, :m] = ties[:m, m] = True
    for new in range(m + 1, nodes):
        old = torch.multinomial(ties[:new].sum(1).float(), m, generator=generator)
        ties[new, old] = ties[old, new] = True
    return ties


def erdos_renyi(nodes: int, generator: torch.Generator, p: float = 0.1) -> Tensor:
    """Every pair is tied with probability `p`."""
    upper = torch.rand(nodes, nodes, generator=generator).triu(1)
    ties = (upper > 0) & (upper < p)
    return ties | ties.t()


def ring_of_cliques(nodes: int, generator: torch.Generator, cliques: int = 4) -> Tensor:
    """Cliques of equal size, each tied to the next by one pair; the last to the first."""
    size = _size(nodes, cliques, "ring_of_cliques")
    ties = torch.kron(torch.eye(cliques), torch.ones(size, size)).bool()
    ties.fill_diagonal_(False)
    for clique in range(cliques if cliques > 2 else cliques - 1):
        last, first = (clique + 1) * size - 1, (clique + 1) % cliques * size
        ties[last, first] = ties[first, last] = True
    return ties


def planted_partition(
    nodes: int, generator: torch.Generator, groups: int = 4, p_in: float = 0.9, p_out: float = 0.2
) -> Tensor:
    """Groups of equal size: pairs are tied with `p_in` within one and with `p_out` between two."""
    chance = block_probabilities(nodes, groups, p_in, p_out)
    upper = torch.rand(nodes, nodes, generator=generator)
    ties = (upper < chance).triu(1)
    return ties | ties.t()


def block_probabilities(nodes: int, groups: int, p_in: float, p_out: float) -> Tensor:
    """[nodes, nodes], `p_in` within a group and `p_out` between two."""
    size = _size(nodes, groups, "planted_partition")
    within = torch.kron(torch.eye(groups), torch.ones(size, size))
    return p_out + (p_in - p_out) * within


def _size(nodes: int, parts: int, graph: str) -> int:
    if parts < 1 or nodes % parts:
        raise ConfigError(f"graph {graph}: {nodes} mediators cannot be cut into {parts} equal groups.")
    return nodes // parts


GRAPHS: dict[str, Callable[..., Tensor]] = {
    "scale_free": scale_free,
    "erdos_renyi": erdos_renyi,
    "ring_of_cliques": ring_of_cliques,
    "planted_partition": planted_partition,
}


def prior_graph(nodes: int, graph: Mapping[str, Any], seed: int = 0) -> Tensor:
    """[nodes, nodes] bool.

    Args:
        graph: `name`, one of `GRAPHS`, and the arguments of that function.
    """
    options = dict(graph)
    kind = options.pop("name", None)
    if kind not in GRAPHS:
        raise ConfigError(f"graph.name={kind!r} is unknown. {nearest(str(kind), GRAPHS)}")
    try:
        return GRAPHS[kind](nodes, torch.Generator().manual_seed(seed), **options)
    except TypeError as error:
        raise ConfigError(f"graph={dict(graph)} does not fit: {error}.") from error


def fitted_signatures(
    ties: Tensor, channels: int, truncation: float, seed: int = 0, steps: int = 100, margin: float = 0.05
) -> Tensor:
    """Unit signatures whose distances lie below `truncation` for tied nodes and above it for others.

    Args:
        ties: [N, N] bool, symmetric.
        channels: G; with too few of them not every graph can be had, and the fit comes as near as it can (at 64
            channels, pairs that come out right: all of them with 32 nodes; with 256, 95 to 100 percent).
        truncation: distance at which connections are cut.
        seed: of the start.
        steps: of Adam, at 0.05.
        margin: by how much distances shall miss the cut.

    Returns:
        [N, G].
    """
    start = torch.randn(len(ties), channels, generator=torch.Generator().manual_seed(seed))
    signatures = F.normalize(start, dim=1).requires_grad_()
    pairs = ~torch.eye(len(ties), dtype=torch.bool)
    optimizer = torch.optim.Adam([signatures], 0.05)
    with torch.enable_grad():
        for _ in range(steps if bool(pairs.any()) else 0):
            distance = signature_distances(signatures, signatures)
            wrong = torch.where(ties, distance - truncation + margin, truncation + margin - distance)
            optimizer.zero_grad()
            wrong[pairs].relu().sum().backward()
            optimizer.step()
    return F.normalize(signatures.detach(), dim=1)


def hinge_repulsion(signatures: Tensor, hinge: float) -> Tensor:
    """Sum over pairs of how much nearer than `hinge` they are; 0 when no pair is. [N, G] -> scalar."""
    distance = signature_distances(signatures, signatures)
    return (hinge - distance).relu().tril(-1).sum()


def block_model_loss(kernel: Tensor, target: Tensor) -> Tensor:
    """Mean binary cross entropy of connection probabilities [N, N] to those of a block model, loops left out."""
    pairs = ~torch.eye(len(kernel), dtype=torch.bool, device=kernel.device)
    return F.binary_cross_entropy(kernel[pairs].clamp(1e-6, 1 - 1e-6), target[pairs])
