"""Compressed rows: the edges of a graph grouped by their target, built once and used by every layer."""

from __future__ import annotations

import warnings
from functools import cached_property

import torch
from torch import Tensor

from structkd.errors import DataError
from structkd.ops.memo import TensorMemo
from structkd.ops.pieces import Pieces

# torch announces once per process that its CSR layout is in beta; get that over with unseen.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor(torch.zeros(1, dtype=torch.long), torch.zeros(0, dtype=torch.long), torch.zeros(0), (0, 0))


class CSR:
    """A sparse [num_dst, num_src] matrix whose row `d` lists the edges s -> d.

    Multigraphs are kept exactly: parallel edges stay separate entries, loops are entries like any other, and
    within a row edges keep the order they were given in. Treat an instance as immutable; what is derived
    from it (the transpose, the torch matrices) is cached.

    Attributes:
        rowptr: [num_dst + 1] int64; row d owns the entries rowptr[d] to rowptr[d + 1].
        col: [E] int64, source of each entry.
        eid: [E] int64, position of each entry in the edge list it was built from.
        value: [E] weight of each entry in this (row) order, without gradient, or None for ones.
        shape: (num_dst, num_src).
    """

    def __init__(self, rowptr: Tensor, col: Tensor, eid: Tensor, value: Tensor | None, shape: tuple[int, int]) -> None:
        self.rowptr, self.col, self.eid, self.value, self.shape = rowptr, col, eid, value, shape
        self._transpose: CSR | None = None
        self._matrices: dict[torch.dtype, Tensor] = {}

    @classmethod
    @torch.inference_mode(False)
    def from_edges(
        cls, edge_index: Tensor, num_dst: int, num_src: int | None = None, weight: Tensor | None = None
    ) -> CSR:
        """Sort edges by target; O(E) memory, one stable sort.

        Args:
            edge_index: [2, E] int64, source -> target, in any order, duplicates and loops allowed.
            num_dst: number of targets.
            num_src: number of sources. Default: `num_dst`.
            weight: [E] weights in the order of `edge_index`; taken as constants. For weights that learn,
                give `value=` to the op instead.

        Raises:
            DataError: wrong shape or dtype, or an id out of range.
        """
        num_src = num_dst if num_src is None else num_src
        _check_edges(edge_index, num_dst, num_src)
        if weight is not None and weight.shape != edge_index.shape[1:]:
            raise DataError(f"weight has shape {tuple(weight.shape)}; expected [{edge_index.size(1)}], one an edge.")
        src, dst = edge_index
        eid = _stable_order(dst, num_dst)
        value = None if weight is None else weight.detach()[eid]
        return cls(_rowptr(dst, num_dst), src[eid], eid, value, (num_dst, num_src))

    @classmethod
    @torch.inference_mode(False)
    def from_sparse(cls, matrix: Tensor) -> CSR:
        """The same compressed rows as a torch sparse CSR matrix; values are shared and taken as constants."""
        if matrix.layout != torch.sparse_csr or matrix.dim() != 2:
            raise DataError(
                f"Got a {matrix.layout} tensor of shape {tuple(matrix.shape)}; expected a sparse CSR matrix "
                "(`x.to_sparse_csr()` makes one)."
            )
        rowptr, col = matrix.crow_indices().long(), matrix.col_indices().long()
        eid = torch.arange(col.numel(), device=col.device)
        return cls(rowptr, col, eid, matrix.values().detach(), (matrix.size(0), matrix.size(1)))

    @property
    def num_edges(self) -> int:
        return self.col.numel()

    @property
    def device(self) -> torch.device:
        return self.col.device

    @cached_property
    @torch.inference_mode(False)
    def row(self) -> Tensor:
        """[E] int64, target of each entry."""
        targets = torch.arange(self.shape[0], device=self.device)
        return torch.repeat_interleave(targets, self.degree(), output_size=self.num_edges)

    @cached_property
    @torch.inference_mode(False)
    def pieces(self) -> Pieces:
        """The rows as kernels take them, long ones by the piece."""
        return Pieces(self.rowptr)

    def degree(self) -> Tensor:
        """[num_dst] int64, number of entries of each row; parallel edges count each."""
        return self.rowptr[1:] - self.rowptr[:-1]

    @torch.inference_mode(False)
    def t(self) -> CSR:
        """The transpose (edges grouped by source), cached; its transpose is this object again."""
        if self._transpose is None:
            order = _stable_order(self.col, self.shape[1])
            value = None if self.value is None else self.value[order]
            turned = CSR(_rowptr(self.col, self.shape[1]), self.row[order], self.eid[order], value, self.shape[::-1])
            self._transpose, turned._transpose = turned, self
        return self._transpose

    @torch.inference_mode(False)
    def matrix(self, dtype: torch.dtype, value: Tensor | None = None) -> Tensor:
        """As a torch sparse CSR tensor that shares the index memory.

        Rows may hold unsorted and repeated columns, which torch's constructor would reject if it looked, and
        which its products add up correctly.

        Args:
            dtype: dtype of the values.
            value: [E] values in the order of the edge list, in place of `self.value`. Such a matrix is not cached.
        """
        if value is not None:
            return self._compressed(value.detach().to(dtype)[self.eid])
        if dtype not in self._matrices:
            own = self.value.to(dtype) if self.value is not None else self.col.new_ones(self.num_edges, dtype=dtype)
            self._matrices[dtype] = self._compressed(own)
        return self._matrices[dtype]

    def _compressed(self, values: Tensor) -> Tensor:
        return torch.sparse_csr_tensor(self.rowptr, self.col, values, self.shape, check_invariants=False)

    def __repr__(self) -> str:
        weighted = "" if self.value is None else f", weighted ({self.value.dtype})"
        return f"CSR({self.shape[0]} targets, {self.shape[1]} sources, {self.num_edges} edges{weighted})"


def csr_of(edge_index: Tensor, num_dst: int, num_src: int | None = None) -> CSR:
    """`CSR.from_edges(edge_index, num_dst, num_src)`, computed once for as long as `edge_index` lives unchanged.

    Layers call it in every forward pass. An in-place change of `edge_index` (also through a view) rebuilds;
    see `TensorMemo` for what cannot be noticed. Nothing is kept alive: the CSR goes with the tensor.
    """
    num_src = num_dst if num_src is None else num_src
    if torch.compiler.is_compiling():
        from structkd.ops.traced import traced_csr

        return traced_csr(edge_index, num_dst, num_src)
    return _csr_of_edges(edge_index, num_dst, num_src)


def csr_of_matrix(matrix: Tensor) -> CSR:
    """`CSR.from_sparse(matrix)` of a torch sparse CSR matrix, with the same memory as `csr_of`."""
    return _csr_of_matrix(matrix)


_csr_of_edges = TensorMemo(CSR.from_edges)
_csr_of_matrix = TensorMemo(CSR.from_sparse)


def check_ids(name: str, ids: Tensor, size: int) -> None:
    """Raise a `DataError` that names `ids` unless all of them are from 0 to `size` - 1 (unseen while tracing)."""
    if torch.compiler.is_compiling() or ids.numel() == 0:
        return
    low, high = (int(bound) for bound in torch.aminmax(ids))
    if low < 0 or high >= size:
        raise DataError(f"{name} runs from {low} to {high}; expected ids from 0 to {size - 1}.")


def row_entries(rowptr: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The entries of some compressed rows, one row after another.

    Args:
        rowptr: [N + 1] row pointers.
        rows: [B] int64 row numbers, repeats allowed.

    Returns:
        [B + 1] row pointers of the chosen rows, and the [M] positions of their entries.
    """
    start = rowptr[rows].long()
    count = rowptr[rows + 1] - start
    chosen = _pointers(count)
    total = int(chosen[-1])
    shift = torch.repeat_interleave(start - chosen[:-1], count, output_size=total)
    return chosen, torch.arange(total, device=rowptr.device) + shift


def _stable_order(ids: Tensor, size: int) -> Tensor:
    # Narrow keys sort in half the time.
    keys = ids.int() if size <= torch.iinfo(torch.int32).max else ids
    return torch.sort(keys, stable=True).indices


def _rowptr(ids: Tensor, size: int) -> Tensor:
    return _pointers(torch.bincount(ids, minlength=size))


def _pointers(count: Tensor) -> Tensor:
    pointers = count.new_zeros(count.numel() + 1)
    torch.cumsum(count, 0, out=pointers[1:])
    return pointers


def _check_edges(edge_index: Tensor, num_dst: int, num_src: int) -> None:
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or edge_index.dtype != torch.int64:
        raise DataError(
            f"edge_index is {edge_index.dtype} of shape {tuple(edge_index.shape)}; expected int64 of shape [2, E]."
        )
    check_ids("edge_index[0] (sources)", edge_index[0], num_src)
    check_ids("edge_index[1] (targets)", edge_index[1], num_dst)
