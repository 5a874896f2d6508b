"""Distances and angles between elements (relational knowledge distillation)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from structkd.errors import DataError
from structkd.ops.edge_distance import edge_square_distance
from structkd.ops.precision import accumulator, inner_products

#: Numbers in each working array of the angles: on the CPU 2 MB, which stay in the caches (with 16 times more they take
#: twice the time); on a GPU, large enough to fill it. With more, vertices are visited in blocks, twice each.
HELD = {"cpu": 1 << 18, "cuda": 1 << 26}


def distance_loss(x_s: Tensor, x_t: Tensor) -> Tensor:
    r"""Difference of the distances between elements, each side's in units of its own mean distance.

    .. math::
        L = \frac{2}{n (n - 1)} \sum_{i < j} l\big(\psi_s(i, j), \psi_t(i, j)\big), \qquad
        \psi(i, j) = \frac{\| x[i] - x[j] \|_2}{\mu}

    with mu the mean distance over pairs and l the Huber loss, :math:`(a - b)^2 / 2` up to a difference of 1 and
    linear beyond. Park et al., "Relational Knowledge Distillation", CVPR 2019, section 3.2.1. Zero when the sides
    are equal up to a rotation, a shift and a scale; 0 below two elements. O(n^2 + n C) memory.

    Args:
        x_s: [n, C_s] student's features.
        x_t: [n, C_t] teacher's features of the same elements.

    Raises:
        DataError: the numbers of rows differ.

    Differences: the authors' code takes the mean over all n^2 pairs; an element has no distance from itself here.
    """
    x_s, x_t = _checked(x_s, x_t)
    psi_s, psi_t = _distances(x_s), _distances(x_t)
    return F.smooth_l1_loss(psi_s, psi_t, reduction="sum") / max(psi_s.numel(), 1)


def angle_loss(x_s: Tensor, x_t: Tensor) -> Tensor:
    r"""Difference of the angles that three elements form.

    .. math::
        L = \frac{1}{|T|} \sum_{(i, j, k) \in T} l\big(\psi_s, \psi_t\big), \qquad
        \psi(i, j, k) = \left\langle \frac{x[i] - x[j]}{\| x[i] - x[j] \|},
                                     \frac{x[k] - x[j]}{\| x[k] - x[j] \|} \right\rangle

    over all triplets of distinct elements; source (section 3.2.2), Huber loss l, arguments and what it is blind to
    as in `distance_loss`. 0 below three elements. O(n^3 + n^2 C) time and O(n^2 + n C) memory: the cosines are made of
    the products of all pairs, and beyond 64 elements the vertices j are visited in blocks, whose cosines are made
    once more in the backward pass. Products and cosines are taken in float64, for products cancel where elements lie
    close together; elements closer than about 1e-7 of their distance from the mean coincide.

    Differences: the authors' code takes the mean over all n^3 triplets, those with repeated elements (always equal)
    included.
    """
    x_s, x_t = _checked(x_s, x_t)
    n = x_s.size(0)
    products = _products(x_s), _products(x_t)
    block = max(1, HELD.get(x_s.device.type, HELD["cuda"]) // max(n * n, 1))
    if block >= n:
        total = _angle_errors(*products, 0, n)
    else:
        total = products[0].new_zeros(())
        for start in range(0, n, block):
            part = (*products, start, min(start + block, n))
            total = total + checkpoint(_angle_errors, *part, use_reentrant=False, preserve_rng_state=False)
    # A pair (i, k) stands for (k, i) too; where i or k is the vertex itself, both sides hold 0.
    return (total * 2 / max(n * (n - 1) * (n - 2), 1)).to(x_s.dtype)


def _angle_errors(products_s: Tensor, products_t: Tensor, start: int, stop: int) -> Tensor:
    """Sum of the errors of the angles at some vertices, each pair of ends once."""
    psi_s, psi_t = (_cosines(products, start, stop) for products in (products_s, products_t))
    return F.smooth_l1_loss(psi_s, psi_t, reduction="none").tril(-1).sum()


def _products(x: Tensor) -> Tensor:
    """[n, n] inner products about the mean."""
    x = x.double()
    if x.size(0):
        x = x - x.mean(0)
    return inner_products(x, x)


def _cosines(products: Tensor, start: int, stop: int) -> Tensor:
    """[stop - start, n, n] cosines at each vertex of the angles to every pair of ends.

    0 where an end coincides with the vertex.
    """
    norm, vertex = products.diagonal(), products[start:stop]
    own = norm[start:stop, None]
    square = norm + own - 2 * vertex
    apart = square > 64 * torch.finfo(square.dtype).eps * (norm + own)
    inverse = torch.where(apart, square, 1).rsqrt() * apart
    along = products - vertex[:, :, None] - vertex[:, None] + own[:, :, None]
    return along * inverse[:, :, None] * inverse[:, None]


def _checked(x_s: Tensor, x_t: Tensor) -> tuple[Tensor, Tensor]:
    if x_s.dim() != 2 or x_t.dim() != 2 or x_s.size(0) != x_t.size(0):
        raise DataError(
            f"Student features have shape {tuple(x_s.shape)}, teacher features {tuple(x_t.shape)}; expected "
            "[n, C_s] and [n, C_t]."
        )
    dtype = accumulator(x_s, x_t)
    return x_s.to(dtype), x_t.to(dtype)


def _distances(x: Tensor) -> Tensor:
    """[n (n - 1) / 2] over their mean; zeros where all elements coincide.

    Not `torch.pdist`, whose backward pass ends the process when there are no elements.
    """
    square = edge_square_distance(x, torch.triu_indices(x.size(0), x.size(0), 1, device=x.device))
    # Its gradient is zero where a distance is.
    distance = torch.where(square > 0, square, 1).sqrt() * (square > 0)
    mean = distance.sum() / max(distance.numel(), 1)
    return distance / torch.where(mean > 0, mean, 1)
