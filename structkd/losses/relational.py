"""Distances and angles between elements (relational knowledge distillation)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from structkd.errors import DataError
from structkd.ops.precision import accumulator

#: Numbers in each working array of the angles; with more, vertices are visited in blocks, twice each.
HELD = 1 << 22


def distance_loss(x_s: Tensor, x_t: Tensor) -> Tensor:
    r"""Difference of the distances between elements, each side's in units of its own mean distance.

    .. math::
        L = \frac{2}{n (n - 1)} \sum_{i < j} l\big(\psi_s(i, j), \psi_t(i, j)\big), \qquad
        \psi(i, j) = \frac{\| x[i] - x[j] \|_2}{\mu}

    with mu the mean distance over pairs and l the Huber loss, :math:`(a - b)^2 / 2` up to a difference of 1 and
    linear beyond. Park et al., "Relational Knowledge Distillation", CVPR 2019, section 3.2.1. Zero when the sides
    are equal up to a rotation, a shift and a scale; 0 below two elements. O(n^2) memory.

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
    as in `distance_loss`. 0 below three elements. O(n^3 + n^2 C) time. Memory does not grow with it: beyond some 64
    elements the vertices j are visited in blocks, whose angles are computed once more in the backward pass.

    Differences: the authors' code takes the mean over all n^3 triplets, those with repeated elements (always equal)
    included.
    """
    x_s, x_t = _checked(x_s, x_t)
    n = x_s.size(0)
    block = max(1, HELD // max(n * (n + max(x_s.size(1), x_t.size(1))), 1))
    if block >= n:
        total = _angle_errors(x_s, x_t, 0, n)
    else:
        total = x_s.new_zeros(())
        for start in range(0, n, block):
            part = (x_s, x_t, start, min(start + block, n))
            total = total + checkpoint(_angle_errors, *part, use_reentrant=False, preserve_rng_state=False)
    # A pair (i, k) stands for (k, i) too; where i or k is the vertex itself, both sides hold 0.
    return total * 2 / max(n * (n - 1) * (n - 2), 1)


def _angle_errors(x_s: Tensor, x_t: Tensor, start: int, stop: int) -> Tensor:
    """Sum of the errors of the angles at some vertices."""
    return F.smooth_l1_loss(_cosines(x_s, start, stop), _cosines(x_t, start, stop), reduction="sum")


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
    first, second = torch.triu_indices(x.size(0), x.size(0), 1, device=x.device)
    distance = _length(x[first] - x[second]).squeeze(1)
    mean = distance.sum() / max(distance.numel(), 1)
    return distance / torch.where(mean > 0, mean, 1)


def _cosines(x: Tensor, start: int, stop: int) -> Tensor:
    """[stop - start, n (n - 1) / 2] cosines at each vertex of the angles to every pair.

    0 where an end coincides with the vertex.
    """
    first, second = torch.triu_indices(x.size(0), x.size(0), 1, device=x.device)
    towards = x[None] - x[start:stop, None]
    length = _length(towards)
    unit = towards / torch.where(length > 0, length, 1)
    return (unit @ unit.mT)[:, first, second]


def _length(x: Tensor) -> Tensor:
    """Norm over the last dimension, kept; its gradient is zero where it is."""
    squared = x.square().sum(-1, keepdim=True)
    return torch.where(squared > 0, squared, 1).sqrt() * (squared > 0)
