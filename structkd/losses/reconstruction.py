"""Reconstruction of a graph from its node embeddings, without an N x N matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.ops.csr import csr_of
from structkd.ops.memo import TensorMemo
from structkd.ops.precision import accumulator
from structkd.ops.spmm import spmm

#: Rows of the tiles in which all pairs are searched for the smallest product.
TILE = 2048


def edge_reconstruction(z: Tensor, edge_index: Tensor) -> Tensor:
    r"""Root mean square difference between the adjacency matrix and the rescaled products of embeddings.

    .. math:: L = \sqrt{\frac{1}{N^2} \sum_{ij} \Big(A_{ij} - \frac{S_{ij} - m}{M - m}\Big)^2}, \quad
              S = Z Z^T,\ m = \min S,\ M = \max S

    The edge term of VQGraph's tokenizer (Yang et al., ICLR 2024). With c the mean embedding, y_i = z_i - c,
    a_i = <y_i, c> and b = |c|^2 - m, a product is S_ij - m = <y_i, y_j> + a_i + a_j + b, whose parts are orthogonal:

    .. math:: \sum_{ij} (S_{ij} - m)^2 = \| Y^T Y \|_F^2 + 2 N \| a \|^2 + N^2 b^2

    and the cross term with A is a sum over edges. That is O(N d^2 + E d) time and O(N d + d^2) memory, gradients
    through m and M included, and nothing cancels when the embeddings lie close together. M is the largest squared
    norm, by the Cauchy-Schwarz inequality; m is searched tile by tile without gradient, O(N^2 d) time, and then
    computed once more as one product.

    Zero only for an embedding whose rescaled products are the adjacency matrix.

    Args:
        z: [N, d] embeddings.
        edge_index: [2, E] edges, A[source, target] = their number; parallel edges therefore give entries above 1 (as
            in the authors' code) and loops are entries of the diagonal: add them for the published target.

    Returns:
        A scalar, 0 without nodes. Where all products are equal (a single node, collapsed embeddings) there is no
        scale, and they are rescaled to 0.

    Differences: where several pairs attain m or M, the gradient goes to one of them; torch's `min` and `max` of
    the whole matrix share it among them.
    """
    nodes = z.size(0)
    if nodes == 0:
        return z.sum()
    x = z.to(accumulator(z))
    center = x.mean(0)
    y = x - center
    a = y @ center
    with torch.no_grad():
        top = int((y.square().sum(1) + 2 * a).argmax())
        i, j = _smallest_product(y, a)
    csr = csr_of(edge_index, nodes)
    b = -(y[i] @ y[j] + a[i] + a[j])
    span = y[top] @ y[top] + 2 * a[top] + b
    scale = torch.where(span > 0, 1 / span.clamp(min=torch.finfo(span.dtype).tiny), 0)
    narrow = y if nodes > y.size(1) else y.t()
    everywhere = (narrow.t() @ narrow).square().sum() + 2 * nodes * a.square().sum() + nodes**2 * b.square()
    ends = csr.degree() + torch.bincount(csr.col, minlength=nodes)
    along_edges = (y * spmm(csr, y)).sum() + ends.to(a.dtype) @ a + csr.num_edges * b
    total = _square_sum(edge_index, nodes) - 2 * along_edges * scale + everywhere * scale.square()
    return (total / nodes**2).clamp(min=torch.finfo(total.dtype).tiny).sqrt().to(z.dtype)


def _smallest_product(y: Tensor, a: Tensor) -> tuple[int, int]:
    """The pair with the smallest <y_i, y_j> + a_i + a_j; it is symmetric, so tiles below the diagonal are skipped."""
    best, pair = float("inf"), (0, 0)
    for top in range(0, y.size(0), TILE):
        rows = slice(top, top + TILE)
        for left in range(top, y.size(0), TILE):
            columns = slice(left, left + TILE)
            tile = (y[rows] @ y[columns].t()).add_(a[rows].unsqueeze(1)).add_(a[columns])
            where = int(tile.argmin())
            value = float(tile.flatten()[where])
            if value < best:
                best, pair = value, (top + where // tile.size(1), left + where % tile.size(1))
    return pair


def _count(edge_index: Tensor, num_nodes: int) -> float:
    key = edge_index[0] * num_nodes + edge_index[1]
    return float(torch.unique(key, return_counts=True)[1].double().square().sum())


#: Sum over all entries of A^2: parallel edges make one entry larger than 1.
_square_sum = TensorMemo(_count)
