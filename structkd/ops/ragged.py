"""Lists of different lengths as one table."""

from __future__ import annotations

import torch
from torch import Tensor


def table_places(count: Tensor, k: int, cyclic: bool = False) -> Tensor:
    """Places of the first `k` entries of each list, in all lists laid end to end.

    Args:
        count: [M] int64 length of each list.
        k: columns.
        cyclic: a shorter list starts over again; otherwise its first entry is repeated.

    Returns:
        [M, k] int64; for an empty list the place where it would start, which may be past the end.
    """
    column = torch.arange(k, device=count.device)
    length = count.clamp(min=1).unsqueeze(1)
    column = column % length if cyclic else torch.where(column < length, column, 0)
    return (count.cumsum(0) - count).unsqueeze(1) + column
