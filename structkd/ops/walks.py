"""Random walks on compressed rows, all of them at once."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.ops.csr import CSR, check_ids


def random_walk(csr: CSR, start: Tensor, length: int, generator: torch.Generator | None = None) -> Tensor:
    """Uniform random walks against the edges (from a target to one of its sources; the same on undirected graphs).

    Parallel edges count each. A node without in-edges is never left.

    Args:
        csr: edges grouped by target, square.
        start: [W] int64 first nodes, repeats allowed.
        length: steps of each walk, from 0.
        generator: source of randomness, on the device of `csr`. Default: torch's global one.

    Returns:
        [W, length + 1] int64, the nodes visited, the first ones included.
    """
    check_ids("start", start, csr.shape[0])
    degree = csr.degree()
    visited = [start]
    for _ in range(length):
        here = visited[-1]
        draw = torch.rand(here.numel(), dtype=torch.float64, device=csr.device, generator=generator)
        stays = degree[here] == 0
        entry = (csr.rowptr[here] + (draw * degree[here]).long()).masked_fill(stays, 0)
        visited.append(torch.where(stays, here, csr.col[entry]) if csr.num_edges else here)
    return torch.stack(visited, dim=1)
