"""Overlap of axis-aligned boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.errors import DataError


def intersection_2d(a: Tensor, b: Tensor, aligned: bool = False) -> Tensor:
    """Area that axis-aligned boxes share.

    Args:
        a: [N, 4] boxes x1, y1, x2, y2. A box with a side of 0 or less is empty.
        b: [M, 4] boxes; M = N if `aligned`.
        aligned: pair row i with row i, instead of every row with every row.

    Returns:
        [N, M] areas, or [N] if aligned.

    Raises:
        DataError: shapes that do not fit.
    """
    check_boxes(a, b, aligned, columns=4)
    a, b = (a, b) if aligned else (a[:, None], b[None])
    return overlap_1d(a, b, 0, 2) * overlap_1d(a, b, 1, 3)


def iou_2d(a: Tensor, b: Tensor, aligned: bool = False) -> Tensor:
    """Intersection over union; takes and returns what `intersection_2d` does. 0 where both boxes are empty."""
    return over_union(intersection_2d(a, b, aligned), extent(a[:, 2:] - a[:, :2]), extent(b[:, 2:] - b[:, :2]), aligned)


def overlap_1d(a: Tensor, b: Tensor, low: int, high: int) -> Tensor:
    """Length shared by the intervals from column `low` to column `high`, 0 if they are apart."""
    return (torch.minimum(a[..., high], b[..., high]) - torch.maximum(a[..., low], b[..., low])).clamp_min_(0)


def extent(sizes: Tensor) -> Tensor:
    """Area or volume [N] of boxes with these sizes [N, D]; 0 if one of them is not positive."""
    return sizes.clamp_min(0).prod(1)


def over_union(shared: Tensor, size_a: Tensor, size_b: Tensor, aligned: bool) -> Tensor:
    """Intersections ([N, M], or [N] if aligned) over unions, from the sizes [N] and [M]; 0 over 0 is 0."""
    union = (size_a if aligned else size_a[:, None]) + size_b - shared
    return torch.where(union > 0, shared / union, 0)


def check_boxes(a: Tensor, b: Tensor, aligned: bool, columns: int) -> None:
    """`DataError` unless these are boxes [N, columns] and [M, columns], with M = N if aligned."""
    fits = all(boxes.dim() == 2 and boxes.size(1) == columns for boxes in (a, b))
    if not fits or (aligned and a.size(0) != b.size(0)):
        raise DataError(
            f"Boxes have shapes {tuple(a.shape)} and {tuple(b.shape)}; expected [N, {columns}] and "
            f"[{'N' if aligned else 'M'}, {columns}]."
        )
