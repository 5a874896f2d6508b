"""How alike a node is to each of its neighbours, as a distribution over them."""

from __future__ import annotations

from torch import Tensor

from structkd.errors import ConfigError
from structkd.losses.token_graph import gaussian_weights
from structkd.ops.csr import csr_of
from structkd.ops.edge_distance import edge_square_distance
from structkd.ops.precision import accumulator
from structkd.ops.segment_kl import segment_kl
from structkd.ops.spmm import edge_dot

KERNELS = ("rbf", "gaussian", "linear")


def edge_similarity(x: Tensor, edge_index: Tensor, kernel: str = "rbf", sigma: float = 100.0) -> Tensor:
    r"""Score of each edge, for a softmax over the edges of a node; [E], without a tensor of edges times channels.

    Args:
        x: [N, C] features.
        edge_index: [2, E].
        kernel: with d the distance of an edge's ends, "rbf" exp(-d^2 / (2 sigma)), as LSP has it; "gaussian" its
            logarithm -d^2 / (2 sigma), whose softmax is the normalised kernel itself; "linear" the inner product.
        sigma: width, in squared units of the features.

    Raises:
        ConfigError: unknown kernel, sigma that is not positive.
    """
    if kernel not in KERNELS:
        raise ConfigError(f"kernel is '{kernel}'; expected one of {', '.join(KERNELS)}.")
    if not sigma > 0:
        raise ConfigError(f"sigma is {sigma}; expected a number above 0.")
    x = x.to(accumulator(x))
    if kernel == "linear":
        return edge_dot(csr_of(edge_index, x.size(0)), x, x)
    square = edge_square_distance(x, edge_index)
    return gaussian_weights(square, sigma, "absolute") if kernel == "rbf" else -square / (2 * sigma)


def local_structure_kl(
    score_s: Tensor, score_t: Tensor, target: Tensor, num_nodes: int, student_first: bool = False
) -> Tensor:
    r"""Divergence of the distributions over each node's incoming edges, mean over the nodes that have any.

    .. math:: L = \frac{1}{|V|} \sum_{i \in V} KL\big(LS^t_i \,\|\, LS^s_i\big), \qquad
              LS_{ij} = softmax_{j \in N(i)}(s_{ij})

    Yang et al., "Distilling Knowledge from Graph Convolutional Networks", CVPR 2020. Zero when the sides' scores are
    equal up to a constant a node, and on nodes with a single edge.

    Args:
        score_s, score_t: [E] scores of the same edges.
        target: [E] node each edge ends in.
        num_nodes: number of nodes.
        student_first: KL(student || teacher) instead.

    Raises:
        DataError: shapes that do not fit.
    """
    sides = (score_s, score_t) if student_first else (score_t, score_s)
    return segment_kl(*sides, target, num_nodes).sum() / max(int(target.unique().numel()), 1)
