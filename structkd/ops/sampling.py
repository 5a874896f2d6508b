"""Neighbour sampling from compressed rows in plain PyTorch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from structkd.errors import ConfigError
from structkd.ops.csr import CSR, check_ids, row_entries


class Neighbors(NamedTuple):
    """Sampled in-edges of a list of seeds, grouped by seed.

    Attributes:
        src: [M] int64, source node of each edge.
        dst: [M] int64, position in `seeds` of its target (so `seeds[dst]` are the nodes).
        eid: [M] int64, position of the edge in the edge list that the CSR was built from.
    """

    src: Tensor
    dst: Tensor
    eid: Tensor


def sample_neighbors(csr: CSR, seeds: Tensor, fanout: int, generator: torch.Generator | None = None) -> Neighbors:
    """At most `fanout` in-edges of each seed, uniformly without replacement.

    Parallel edges are drawn as separate edges. Floyd's method draws k of n with k random numbers, so the cost
    is O(len(seeds) * fanout^2) whatever the degrees: no edge is touched that is not returned.

    Args:
        csr: edges grouped by target.
        seeds: [S] int64 targets; a repeated seed is sampled anew each time.
        fanout: most edges a seed; -1 for all.
        generator: source of randomness, on the device of `csr`. Default: torch's global one.

    Source: R. W. Floyd in J. Bentley, "Programming pearls: a sample of brilliance", CACM 30(9), 1987.
    """
    if fanout < -1:
        raise ConfigError(f"fanout is {fanout}; expected 0 or more, or -1 for all neighbours.")
    check_ids("seeds", seeds, csr.shape[0])
    if fanout == -1:
        rowptr, entries = row_entries(csr.rowptr, seeds)
        taken = rowptr.diff()
    else:
        start = csr.rowptr[seeds]
        degree = csr.rowptr[seeds + 1] - start
        taken = degree.clamp(max=fanout)
        filled = torch.arange(fanout, device=csr.device) < taken[:, None]
        entries = (start[:, None] + _floyd(degree, fanout, generator))[filled]
    positions = torch.arange(seeds.numel(), device=csr.device)
    dst = torch.repeat_interleave(positions, taken, output_size=entries.numel())
    return Neighbors(csr.col[entries], dst, csr.eid[entries])


def _floyd(size: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """[S, count]: where size > count, a uniform subset of range(size); elsewhere 0, 1, ... in order.

    Step i draws from range(size - count + i + 1) and takes that range's end instead of what is drawn already.
    """
    chosen = torch.arange(count, device=size.device).expand(size.numel(), count).clone()
    many = (size > count).nonzero().flatten()
    draws = torch.rand(many.numel(), count, dtype=torch.float64, device=size.device, generator=generator)
    picks = torch.full_like(chosen[many], -1)
    for i in range(count):
        last = size[many] - count + i
        drawn = (draws[:, i] * (last + 1)).long()
        repeated = (picks[:, :i] == drawn[:, None]).any(1)
        picks[:, i] = torch.where(repeated, last, drawn)
    chosen[many] = picks
    return chosen
