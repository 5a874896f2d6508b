"""Difference between two similarity structures without their B x B matrices."""

from __future__ import annotations

from torch import Tensor

from structkd.errors import DataError


def gram_mse(g_s: Tensor, g_t: Tensor) -> Tensor:
    r"""Mean squared difference of two Gram matrices.

    .. math:: L = \frac{1}{B^2} \| G_s G_s^T - G_t G_t^T \|_F^2
              = \frac{1}{B^2} (\| G_s^T G_s \|_F^2 + \| G_t^T G_t \|_F^2 - 2 \| G_s^T G_t \|_F^2)

    The representational similarity loss of NOSMOG (Tian et al., ICLR 2023). The right-hand form takes O(B d^2) time
    and O(d^2) memory; with no more rows than channels the left-hand one is the smaller and is used. Invariant to
    the order of channels and to rotations of either space. Zero when the matrices are equal, 0 without rows.

    The three norms cancel near equality, so they are computed in float64 and the loss is returned in the dtype of
    `g_s`; where a float64 product is costly, keep mini-batches below the width.

    Args:
        g_s: [B, d_s] student features.
        g_t: [B, d_t] teacher features of the same elements.

    Raises:
        DataError: the numbers of rows differ.
    """
    if g_s.size(0) != g_t.size(0):
        raise DataError(f"Student features have {g_s.size(0)} rows, teacher features {g_t.size(0)}; expected as many.")
    rows = g_s.size(0)
    if rows <= max(g_s.size(1), g_t.size(1)):
        return (g_s @ g_s.t() - g_t @ g_t.t()).square().sum() / max(rows, 1) ** 2
    wide_s, wide_t = g_s.double(), g_t.double()
    total = _norm2(wide_s, wide_s) + _norm2(wide_t, wide_t) - 2 * _norm2(wide_s, wide_t)
    return (total / rows**2).to(g_s.dtype)


def _norm2(a: Tensor, b: Tensor) -> Tensor:
    return (a.t() @ b).square().sum()
