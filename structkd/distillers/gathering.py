"""What all processes of a training hold, for losses with a memory that all of them share."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


@torch.no_grad()
def gathered(rows: Tensor) -> Tensor:
    """The rows of all processes, in the order of their ranks; what one process has where it is alone.

    Every process must call it equally often. Without a gradient.

    Args:
        rows: [n, ...], of any number of rows n in each process, of one dtype and shape besides.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return rows.detach()
    count = torch.tensor([rows.size(0)], device=rows.device)
    counts = [torch.empty_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    sizes = [int(one) for one in counts]
    # Collectives want one shape: short ones are filled up.
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: rows.size(0)] = rows
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes)])
