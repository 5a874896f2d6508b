"""How much features vary along edges."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.ops.csr import csr_of
from structkd.ops.spmm import spmm


def dirichlet_energy(x: Tensor, edge_index: Tensor, normalize: bool = True) -> Tensor:
    r"""Dirichlet energy of node features, without a tensor of edges times channels.

    .. math:: E(X) = \frac{1}{N} \sum_{(i, j)} \| \hat x_i - \hat x_j \|^2
              = \frac{1}{N} \Big( \sum_i d_i \|\hat x_i\|^2 - 2 \langle \hat X, A \hat X \rangle \Big)

    with d_i the number of edges at i, incoming and outgoing. TINED (Zhou et al., "TINED: GNNs-to-MLPs by Teacher
    Injection and Dirichlet Energy Distillation", ICML 2025) compares its logarithm before and after a layer. Zero
    when all neighbours are equal, without edges and on loops. The two sums cancel on smooth features, where the
    logarithm needs every digit, so they are computed in float64 and the energy is returned in the dtype of `x`.

    Args:
        x: [N, C] features.
        edge_index: [2, E] edges; one that is listed in both directions counts twice.
        normalize: divide each row by its Euclidean norm, which gets no gradient (as in the authors' code); a zero
            row stays zero.
    """
    wide = x.double()
    if normalize:
        wide = wide / wide.detach().norm(dim=1, keepdim=True).clamp(min=1e-12)
    csr = csr_of(edge_index, x.size(0))
    degree = csr.degree() + torch.bincount(csr.col, minlength=x.size(0))
    energy = degree.double() @ wide.square().sum(1) - 2 * (wide * spmm(csr, wide)).sum()
    # Rounding may take a vanishing energy below zero, where its logarithm is NaN.
    return (energy.clamp(min=0) / max(x.size(0), 1)).to(x.dtype)
