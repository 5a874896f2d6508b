"""Graph priors of attentive circuits: which latents are neighbours when training begins, and what keeps it that way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structkd.errors import ConfigError, nearest
from structkd.ops.precision import accumulator, inner_products


def signature_distances(a: Tensor, b: Tensor) -> Tensor:
    """1 - cosine of all pairs, [U, G] and [V, G] -> [U, V] in 0 to 2, but for rounding.

    In float32 at least, under autocast too: a latent is at distance 0 of itself, and what is computed there (the log of
    1 - exp(-d), see `Connectivity`) needs numbers nearer to 1 than bfloat16 has.
    """
    dtype = accumulator(a, b)
    return 1 - inner_products(F.normalize(a.to(dtype), dim=-1), F.normalize(b.to(dtype), dim=-1))


def connection_kernel(distance: Tensor, bandwidth: Tensor, truncation: float) -> tuple[Tensor, Tensor]:
    """Strength exp(-distance / bandwidth) of connections: its log, and itself, which is 0 beyond `truncation`."""
    log_kernel = -distance.clamp(min=0) / bandwidth
    return log_kernel, log_kernel.exp() * (distance <= truncation)


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
    _check_chances("erdos_renyi", p=p)
    ties = (torch.rand(nodes, nodes, generator=generator) < p).triu(1)
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


def planted_partition(nodes: int, generator: torch.Generator, **blocks: Any) -> Tensor:
    """Pairs are tied with the probabilities of a block model, see `block_probabilities` for its arguments."""
    ties = (torch.rand(nodes, nodes, generator=generator) < block_probabilities(nodes, **blocks)).triu(1)
    return ties | ties.t()


def block_probabilities(nodes: int, groups: int = 4, p_in: float = 0.9, p_out: float = 0.2) -> Tensor:
    """Groups of equal size: [nodes, nodes], `p_in` within one and `p_out` between two."""
    _check_chances("planted_partition", p_in=p_in, p_out=p_out)
    size = _size(nodes, groups, "planted_partition")
    within = torch.kron(torch.eye(groups), torch.ones(size, size))
    return p_out + (p_in - p_out) * within


def _size(nodes: int, parts: int, graph: str) -> int:
    if parts < 1 or nodes % parts:
        raise ConfigError(f"graph {graph}: {nodes} mediators cannot be cut into {parts} equal groups.")
    return nodes // parts


def _check_chances(graph: str, **chances: float) -> None:
    for key, chance in chances.items():
        if not 0 <= chance <= 1:
            raise ConfigError(f"graph {graph}: {key}={chance}, expected a probability, 0 to 1.")


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


#: Added to the seed of a fit. Other latents' signatures may be the first numbers that torch's own generator gives for
#: the same seed: from those, the fit would begin with mediators that sit on top of other latents.
STREAM = 2_654_435_769


def fitted_signatures(
    ties: Tensor, channels: int, truncation: float, seed: int = 0, steps: int = 1000, margin: float = 0.01
) -> Tensor:
    """Unit signatures whose distances lie below `truncation` for tied nodes and above it for others.

    They start orthogonal, or as nearly so as the channels allow, and Adam moves them in small steps, at 0.001, until
    every pair is on its side of the cut. Longer steps would carry tied nodes far beyond it, where `hinge_repulsion` is
    large from the first step of training on.

    Args:
        ties: [N, N] bool, symmetric.
        channels: G; with too few of them not every graph can be had, and the fit comes as near as it can (at 64
            channels and a cut at 0.9, pairs that come out right: all of them with up to 256 nodes; with 768, all of a
            ring of cliques and 86 to 95 percent of the other graphs, and then there is repulsion from the start).
        truncation: distance at which connections are cut.
        seed: of the start.
        steps: of Adam, at most.
        margin: by how much distances shall miss the cut. The fit ends where all of them miss it by half as much.

    Returns:
        [N, G].
    """
    start = torch.empty(len(ties), channels)
    nn.init.orthogonal_(start, generator=torch.Generator().manual_seed(seed + STREAM))
    # Of unit length also where nodes outnumber channels, so that a step turns them as far as it does elsewhere.
    signatures = F.normalize(start, dim=1).requires_grad_()
    side = torch.where(ties, 1.0, -1.0).fill_diagonal_(0)
    room = margin * side.abs()
    optimizer = torch.optim.Adam([signatures], 0.001)
    with torch.enable_grad():
        for _ in range(steps):
            wrong = (side * (signature_distances(signatures, signatures) - truncation) + room).relu()
            if float(wrong.detach().max()) <= margin / 2:
                break
            optimizer.zero_grad()
            wrong.sum().backward()
            optimizer.step()
    return F.normalize(signatures.detach(), dim=1)


def hinge_repulsion(signatures: Tensor, hinge: float) -> Tensor:
    """Sum over pairs of how much nearer than `hinge` they are; 0 when no pair is. [N, G] -> scalar."""
    distance = signature_distances(signatures, signatures)
    return (hinge - distance).relu().tril(-1).sum()


def block_model_loss(signatures: Tensor, target: Tensor, bandwidths: Tensor, truncation: float) -> Tensor:
    """Squared error of the strengths of connections to the probabilities of a block model: mean over pairs, sum over
    layers. Pairs beyond the cut have a strength of 0, and no gradient.

    Args:
        signatures: [N, G].
        target: [N, N] probabilities; what a node owes for itself, whose strength is 1, is constant.
        bandwidths: [L], one a layer.
        truncation: distance at which connections are cut.

    Returns:
        Scalar.
    """
    distance = signature_distances(signatures, signatures)
    kernel = connection_kernel(distance, bandwidths[:, None, None], truncation)[1]
    return (kernel - target).square().mean((1, 2)).sum()
