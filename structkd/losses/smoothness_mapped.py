"""The targets of FF-G2M's low-frequency loss for a graph on disk, one block of nodes after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor

from structkd.errors import ConfigError, DataError
from structkd.losses.smoothness import NeighborTargets, negative_entropy
from structkd.ops.mapped import BLOCK_EDGES, MappedCSR, mapped_spmm, row_blocks
from structkd.ops.spmm import spmm


@torch.no_grad()
def mapped_neighbor_targets(
    logits: Tensor,
    csr: MappedCSR,
    reduction: str = "edge",
    tau: float = 1.0,
    allocate: Callable[[int, int], Tensor] = torch.empty,
    edges: int = BLOCK_EDGES,
    sources: int | None = None,
    done: int = 0,
) -> Iterator[NeighborTargets]:
    """`neighbor_targets(softmax(logits / tau), edge_index, reduction)`, in blocks of consecutive nodes.

    Args:
        logits: [N, C] the teacher's, float32 or float16; in memory or in a mapped file.
        csr: the edges, without loops.
        reduction: "edge" or "node", see `structkd.losses.neighbor_targets`.
        tau: temperature.
        allocate: (rows, columns) -> a matrix for the probabilities, [N, C + 1]; with `sources` for their sums too.
        edges, sources: see `structkd.ops.mapped.mapped_spmm`.
        done: number of blocks that an earlier call has brought, and that are left out.

    Yields:
        The targets of the first nodes, of the next ones and so on.
    """
    if reduction not in ("edge", "node"):
        raise ConfigError(f"reduction is '{reduction}'; expected 'edge' or 'node'.")
    nodes, classes = logits.shape
    if nodes != csr.shape[0]:
        raise DataError(f"The logits have {nodes} rows; expected {csr.shape[0]}, one a node of {csr}.")
    terms = allocate(nodes, classes + 1)
    for rows in row_blocks(nodes):
        p = torch.softmax(logits[rows].float() / tau, dim=-1)
        terms[rows] = torch.cat([p, negative_entropy(p)], dim=1)
    sums = None if sources is None else mapped_spmm(csr, terms, allocate(nodes, classes + 1), edges, sources)
    for start, stop in islice(csr.blocks(edges), done, None):
        degree = csr.rowptr[start + 1 : stop + 1] - csr.rowptr[start:stop]
        total = (spmm(csr.block(start, stop), terms) if sums is None else sums[start:stop]) + terms[start:stop]
        if reduction == "edge":
            total = total * (nodes / max(csr.num_edges + nodes, 1))
        else:
            total = total / (degree + 1).unsqueeze(1)
        yield NeighborTargets(total[:, :-1].contiguous(), total[:, -1].contiguous())
