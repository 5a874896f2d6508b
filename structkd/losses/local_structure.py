"""How alike a node is to each of its neighbours, as a distribution over them."""

from __future__ import annotations

from torch import Tensor

from structkd.errors import ConfigError, DataError
from structkd.ops.csr import csr_of
from structkd.ops.precision import accumulator
from structkd.ops.segment import segment_log_softmax
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
    if sigma <= 0:
        raise ConfigError(f"sigma is {sigma}; expected a number above 0.")
    x = x.to(accumulator(x))
    if kernel != "linear" and x.size(0):
        x = x - x.mean(0)  # distances stay, and least of the squares cancels
    along = edge_dot(csr_of(edge_index, x.size(0)), x, x)
    if kernel == "linear":
        return along
    square = x.square().sum(1)
    source, target = edge_index
    exponent = -(square[source] + square[target] - 2 * along).clamp(min=0) / (2 * sigma)
    return exponent.exp() if kernel == "rbf" else exponent


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
    if score_s.shape != target.shape or score_t.shape != target.shape or target.dim() != 1:
        raise DataError(
            f"Scores have shapes {tuple(score_s.shape)} and {tuple(score_t.shape)}, targets {tuple(target.shape)}; "
            "expected [E] of each."
        )
    log_s, log_t = (segment_log_softmax(score, target, num_nodes) for score in (score_s, score_t))
    p, log_p, log_q = (log_s.exp(), log_s, log_t) if student_first else (log_t.exp(), log_t, log_s)
    return (p * (log_p - log_q)).sum() / max(int(target.unique().numel()), 1)
