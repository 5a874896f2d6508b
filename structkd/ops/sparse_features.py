"""Bag-of-words features stay sparse: the first layer of a model on a torch sparse CSR matrix.

A citation graph's features are 1 % dense or less, so multiplying the stored entries alone saves most of the
first layer's time and nearly all of the features' memory.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from structkd.errors import DataError
from structkd.ops.csr import check_ids, csr_of_matrix, row_entries
from structkd.ops.spmm import spmm


def is_sparse(x: Tensor) -> bool:
    """Whether `x` is a torch sparse CSR tensor, the one sparse layout that features may have."""
    return x.layout == torch.sparse_csr


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` that also takes sparse CSR features.

    Sparse features are constants: weight and bias get gradients, `x` gets none. The transpose that the
    weight's gradient needs is cached for as long as `x` lives unchanged.

    Args:
        x: [N, F] sparse CSR, or dense [..., F].
        weight: [C, F].
        bias: [C] or None.

    Returns:
        [N, C] in the dtype of `weight` when `x` is sparse.

    Raises:
        DataError: `x` has another sparse layout, needs a gradient, or has another number of features.
    """
    if not is_sparse(x) and x.layout != torch.strided:
        raise DataError(f"Got features in layout {x.layout}; expected dense or sparse CSR (`x.to_sparse_csr()`).")
    if x.size(-1) != weight.size(1):
        raise DataError(f"x has {x.size(-1)} features; weight of shape {tuple(weight.shape)} takes {weight.size(1)}.")
    if not is_sparse(x):
        return F.linear(x, weight, bias)
    if x.requires_grad:
        raise DataError("Sparse features get no gradient, but x requires one; use x.detach() or x.to_dense().")
    out = spmm(csr_of_matrix(x), weight.t())
    return out if bias is None else out + bias


def take_rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows of a dense or sparse CSR matrix, in the layout of `x`.

    Args:
        x: [N, ...] dense or [N, F] sparse CSR.
        index: [B] int64 row numbers from 0 to N - 1, repeats allowed, or an [N] bool mask.

    Returns:
        [B, ...]; a sparse result is a new matrix with the stored entries of those rows in their order.
    """
    if not is_sparse(x):
        return x[index]
    index = index.nonzero().flatten() if index.dtype == torch.bool else index
    check_ids("index", index, x.size(0))
    rowptr = x.crow_indices()
    rowptr_out, entries = row_entries(rowptr, index)
    col, value = x.col_indices()[entries], x.values()[entries]
    shape = (index.numel(), x.size(1))
    return torch.sparse_csr_tensor(rowptr_out.to(rowptr.dtype), col, value, shape, check_invariants=False)
