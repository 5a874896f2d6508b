"""Graphs larger than memory: compressed rows that lie in mapped files, and the product with them, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from structkd.errors import DataError
from structkd.ops.csr import CSR, row_entries
from structkd.ops.spmm import spmm

#: Entries that a block of rows holds at most (unless a single row holds more): about 100 MB with its indices.
BLOCK_EDGES = 2**22
#: Rows that a block holds at most.
BLOCK_ROWS = 2**16


class MappedCSR:
    """The edges of a graph grouped by target, like `structkd.ops.CSR`, of which only parts are ever in memory.

    Attributes:
        rowptr: [num_dst + 1] int64, usually in a mapped file.
        col: [E] int32 or int64 sources, usually in a mapped file; within a row ascending, as `CSR.from_edges` has them
            for edges from `structkd.datasets.graphs.build.undirected`.
        shape: (num_dst, num_src).
    """

    def __init__(self, rowptr: Tensor, col: Tensor, num_src: int | None = None) -> None:
        self.rowptr, self.col = rowptr, col
        self.shape = (rowptr.numel() - 1, rowptr.numel() - 1 if num_src is None else num_src)

    @property
    def num_edges(self) -> int:
        return self.col.numel()

    @property
    def device(self) -> torch.device:
        return self.col.device

    def degree(self) -> Tensor:
        """[num_dst] int64, in memory."""
        return self.rowptr[1:] - self.rowptr[:-1]

    def rows(self, ids: Tensor) -> CSR:
        """The rows `ids` [B] as [B, num_src] compressed rows in memory; repeats are allowed."""
        rowptr, entries = row_entries(self.rowptr, ids)
        return CSR(rowptr, self.col[entries].long(), entries, None, (ids.numel(), self.shape[1]))

    def block(self, start: int, stop: int) -> CSR:
        """The rows from `start` to `stop` as compressed rows in memory; reads one stretch of the file."""
        rowptr = self.rowptr[start : stop + 1].clone()
        first, last = int(rowptr[0]), int(rowptr[-1])
        col = self.col[first:last].long()
        return CSR(rowptr.sub_(first), col, torch.arange(last - first), None, (stop - start, self.shape[1]))

    def blocks(self, edges: int = BLOCK_EDGES, rows: int = BLOCK_ROWS) -> Iterator[tuple[int, int]]:
        """(start, stop) of consecutive blocks of rows with at most so many entries and rows, at least one row each."""
        start, nodes = 0, self.shape[0]
        while start < nodes:
            end = self.rowptr[start] + edges
            fits = int(torch.searchsorted(self.rowptr[start : start + rows + 1], end, right=True)) - 1
            stop = start + max(1, min(fits, nodes - start))
            yield start, stop
            start = stop

    def __repr__(self) -> str:
        return f"MappedCSR({self.shape[0]} targets, {self.shape[1]} sources, {self.num_edges} edges)"


def row_blocks(size: int, rows: int = BLOCK_ROWS) -> Iterator[slice]:
    """Consecutive slices of `rows` rows, the last one shorter."""
    for start in range(0, size, rows):
        yield slice(start, min(start + rows, size))


def mapped_spmm(
    csr: MappedCSR,
    x: Tensor,
    out: Tensor,
    edges: int = BLOCK_EDGES,
    sources: int | None = None,
    operator: Callable[[int, int], CSR] | None = None,
) -> Tensor:
    """`spmm(csr, x)` for matrices in mapped files: out[d] = sum of x[s] over the edges s -> d.

    Args:
        csr: the edges.
        x: [num_src, C] floating point; half types are summed in float32.
        out: [num_dst, C], written in place.
        edges: entries of a block of rows held in memory.
        sources: rows of `x` that are read at random at a time; None for all. Where `x` is larger than memory, random
            reads of it would wait for the disk: with `sources` the edges are passed over once for each stretch of so
            many rows, which is copied to memory before, and `out` collects the partial sums.
        operator: (start, stop) -> those rows of the matrix, where it is not the edges alone, e.g. weighted.

    Returns:
        `out`. Without `sources` every row is summed in the order of its entries, as `spmm` does; with it only the
        rounding differs.
    """
    if x.size(0) != csr.shape[1] or out.shape != (csr.shape[0], *x.shape[1:]):
        raise DataError(
            f"x has shape {tuple(x.shape)} and out {tuple(out.shape)}; expected [{csr.shape[1]}, C] and "
            f"[{csr.shape[0]}, C] for {csr}."
        )
    operator = operator or csr.block
    for part in row_blocks(x.size(0), max(1, x.size(0) if sources is None else sources)):
        whole = part.stop - part.start == x.size(0)
        held = x if whole else x[part].clone()
        held = held.float() if held.dtype in (torch.float16, torch.bfloat16) else held
        for start, stop in csr.blocks(edges):
            block = operator(start, stop)
            sums = spmm(block if whole else columns(block, part), held)
            if part.start == 0:
                out[start:stop] = sums
            else:
                out[start:stop] += sums
    return out


def columns(block: CSR, part: slice) -> CSR:
    """The entries of compressed rows whose sources lie in `part`, numbered from its start."""
    keep = (block.col >= part.start) & (block.col < part.stop)
    passed = torch.cat([keep.new_zeros(1, dtype=torch.long), keep.cumsum(0)])
    value = None if block.value is None else block.value[keep]
    shape = (block.shape[0], part.stop - part.start)
    return CSR(passed[block.rowptr], block.col[keep] - part.start, block.eid[keep], value, shape)
