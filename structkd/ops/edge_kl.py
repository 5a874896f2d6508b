"""Divergence of feature differences along edges, without a tensor of edges times channels."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.backends import Backend, Op
from structkd.errors import ConfigError, DataError
from structkd.ops.known_gradient import with_gradient
from structkd.ops.memo import TensorMemo
from structkd.ops.pairs import both_ways, pairs_of, sum_by_pair
from structkd.ops.precision import accumulator
from structkd.ops.triton.launch import refusals, too_wide

#: Numbers in each of the four working buffers. On the CPU they share the caches with the gathered rows: 2 MB each
#: in float32; four times more or less costs some 10%. On a GPU, large enough to fill it.
CHUNK = {"cpu": 1 << 19, "cuda": 1 << 24}


def edge_difference_kl(
    z_s: Tensor,
    z_t: Tensor,
    edge_index: Tensor,
    tau: float = 1.0,
    edge_scale: Tensor | None = None,
    cache_teacher: bool = False,
    *,
    backend: str | None = None,
) -> Tensor:
    r"""How differently two models change along edges.

    .. math:: L = \sum_{e = (i, j)} w_e \, KL(q^t_{ij} \,\|\, q^s_{ij}), \quad
              q_{ij} = softmax(|z[i] - z[j]| / \tau)

    Zero when the sides are equal, when they differ by a constant row, and on loops. The gradient is zero where
    a difference is zero, as that of `torch.abs`.

    The default backend uses that a term is symmetric in its ends, so that the two directions of an undirected edge
    (and parallel edges) are one term with their weights added, and that its derivative by the student's difference
    is `sign(dz_s) (q - p) / tau` with the two softmaxes q and p at hand: forward visits the pairs in chunks, adds
    up loss and gradient at once, and backward only scales. Extra memory: the gradient, [N, C], and a few MB.

    Args:
        z_s, z_t: [N, C] student's and teacher's features of the same nodes. Only `z_s` gets a gradient, of first
            order; half and bfloat16 are computed in float32.
        edge_index: [2, E] edges in either or both directions; duplicates and loops are terms like any other.
        tau: temperature.
        edge_scale: [E] weight of each edge, a constant. Default: 1 / E, the mean over edges.
        cache_teacher: keep the logarithms that normalise the teacher's softmaxes, two numbers a pair,
            for as long as `z_t` and `edge_index` live unchanged: for a teacher that is the same tensor in every step.
            Only `triton` does.
        backend: `triton` (CUDA; visits each pair from both its ends in the order of compressed rows, so that the
            gradient is a sum in registers: deterministic, no atomics), `chunked`, or `naive` (the reference; holds
            [E, C] several times).

    Returns:
        A scalar; 0 without edges.

    Raises:
        DataError: shapes that do not match, ids out of range.
        ConfigError: tau is not positive.
    """
    if z_s.dim() != 2 or z_s.shape != z_t.shape:
        raise DataError(
            f"Student features have shape {tuple(z_s.shape)}, teacher features {tuple(z_t.shape)}; expected one "
            "shape [N, C]."
        )
    if edge_scale is not None and edge_scale.shape != edge_index.shape[1:]:
        raise DataError(
            f"edge_scale has shape {tuple(edge_scale.shape)}; expected [{edge_index.size(1)}], one weight an edge."
        )
    if tau <= 0:
        raise ConfigError(f"tau is {tau}; a temperature is positive.")
    return EDGE_DIFFERENCE_KL(z_s, z_t, edge_index, tau, edge_scale, cache_teacher, backend=backend)


def _naive(
    z_s: Tensor, z_t: Tensor, edge_index: Tensor, tau: float, edge_scale: Tensor | None, cache_teacher: bool = False
) -> Tensor:
    dtype = accumulator(z_s, z_t)
    i, j = edge_index
    z_s, z_t = z_s.to(dtype), z_t.detach().to(dtype)
    log_q = torch.log_softmax((z_s[i] - z_s[j]).abs() / tau, -1)
    log_p = torch.log_softmax((z_t[i] - z_t[j]).abs() / tau, -1)
    terms = (log_p.exp() * (log_p - log_q)).sum(-1)
    if edge_scale is None:
        return terms.sum() / max(terms.numel(), 1)
    with torch.autocast(terms.device.type, enabled=False):
        return terms @ edge_scale.to(dtype)


class _Normalisers:
    """What normalises a teacher's softmaxes on the edges of a list, once it is `known`."""

    def __init__(self, edge_index: Tensor, num_nodes: int, tau: float, dtype: torch.dtype) -> None:
        entries = both_ways(edge_index, num_nodes).num_edges
        self.log_z, self.known = torch.empty(entries, dtype=dtype, device=edge_index.device), False


#: Of a teacher's features, of an edge list: both are let go with the tensors they are of.
_normalisers_of = TensorMemo(lambda z_t: TensorMemo(_Normalisers))


def _pair_weights(edge_index: Tensor, num_nodes: int, edge_scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """[P] weights of the edges that join each pair, added up."""
    if edge_scale is not None:
        return sum_by_pair(edge_index, num_nodes, edge_scale.detach().to(dtype))
    return pairs_of(edge_index, num_nodes).count.to(dtype) / max(edge_index.size(1), 1)


def _triton(
    z_s: Tensor, z_t: Tensor, edge_index: Tensor, tau: float, edge_scale: Tensor | None, cache_teacher: bool = False
) -> Tensor:
    from structkd.ops.triton.edge_kl import edge_kl

    dtype = accumulator(z_s, z_t)
    learns = torch.is_grad_enabled() and z_s.requires_grad
    with torch.no_grad():
        csr = both_ways(edge_index, z_s.size(0))
        weight = _pair_weights(edge_index, z_s.size(0), edge_scale, dtype)
        kept = _normalisers_of(z_t)(edge_index, z_s.size(0), tau, dtype) if cache_teacher else None
        log_z = None if kept is None else kept.log_z
        known = kept is not None and kept.known
        value, gradient = edge_kl(z_s.detach(), z_t.detach(), csr, weight, tau, learns, log_z, known)
        if kept is not None:
            kept.known = True
    return value if gradient is None else with_gradient(value, z_s, gradient)


def _no_triton(z_s: Tensor | None = None, z_t: Tensor | None = None, *rest: object) -> list[str]:
    return refusals(z_s, z_t) or ([] if z_s is None else too_wide(z_s.size(1)))


def _chunked(
    z_s: Tensor, z_t: Tensor, edge_index: Tensor, tau: float, edge_scale: Tensor | None, cache_teacher: bool = False
) -> Tensor:
    dtype = accumulator(z_s, z_t)
    pairs = pairs_of(edge_index, z_s.size(0))
    scale = None if edge_scale is None else sum_by_pair(edge_index, z_s.size(0), edge_scale.detach().to(dtype))
    learns = torch.is_grad_enabled() and z_s.requires_grad
    with torch.no_grad(), torch.autocast(z_s.device.type, enabled=False):
        s, t = z_s.to(dtype), z_t.to(dtype)
        size = max(1, CHUNK.get(s.device.type, CHUNK["cuda"]) // max(s.size(1), 1))
        buffers = s.new_empty(4, min(size, pairs.i.numel()), s.size(1))
        gradient = torch.zeros_like(s) if learns else None
        terms = [s.new_zeros(())]
        for start in range(0, pairs.i.numel(), size):
            chunk = slice(start, start + size)
            i, j = pairs.i[chunk].long(), pairs.j[chunk].long()
            weight = pairs.count[chunk].to(dtype) / edge_index.size(1) if scale is None else scale[chunk]
            terms.append(_visit(s, t, i, j, weight, tau, buffers[:, : i.numel()], gradient))
        value = torch.stack(terms).sum()
    return value if gradient is None else with_gradient(value, z_s, gradient.to(z_s.dtype))


def _visit(
    s: Tensor, t: Tensor, i: Tensor, j: Tensor, weight: Tensor, tau: float, buffers: Tensor, gradient: Tensor | None
) -> Tensor:
    """The weighted terms of one chunk of pairs, added up; their derivative is added to `gradient`.

    Every intermediate of the size of the chunk lives in one of the four `buffers`.
    """
    a, b, c, difference = buffers
    torch.index_select(t, 0, i, out=a)
    torch.index_select(t, 0, j, out=b)
    log_p = torch.log_softmax(a.sub_(b).abs_().div_(tau), -1, out=c)
    torch.index_select(s, 0, i, out=difference)
    torch.index_select(s, 0, j, out=b)
    torch.abs(difference.sub_(b), out=a)
    log_q = torch.log_softmax(a.div_(tau), -1, out=b)
    p = torch.exp(log_p, out=a)
    terms = log_p.sub_(log_q).mul_(p).sum(-1)
    if gradient is not None:
        slope = log_q.exp_().sub_(p).mul_(difference.sign_()).mul_((weight / tau).unsqueeze(1))
        # scatter_add_ with a broadcast index sorts it and adds whole rows; index_add_ is three times slower on CPU.
        gradient.scatter_add_(0, i.unsqueeze(1).expand_as(slope), slope)
        gradient.scatter_add_(0, j.unsqueeze(1).expand_as(slope), slope.neg_())
    return terms @ weight


EDGE_DIFFERENCE_KL = Op(
    "edge_difference_kl",
    [Backend("triton", _triton, _no_triton), Backend("chunked", _chunked), Backend("naive", _naive)],
)
