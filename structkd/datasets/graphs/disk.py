"""A graph in a folder of `.npy` files, opened without reading it: for graphs larger than memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from structkd.datasets.files import damaged, require_file
from structkd.datasets.graphs.npy import open_npy, scratch
from structkd.datasets.graphs.protocols import Split
from structkd.errors import DataError
from structkd.ops.mapped import MappedCSR, row_blocks

FORMAT = "structkd-graph-1"
HOW = "See structkd.datasets.disk_graph for the files of such a folder, or make one: python tools/create_data.py graph."
PARTS = ("train", "val", "test")
FLOATS, INTEGERS = ("float32", "float16"), ("int64", "int32", "int16", "uint8", "int8")
_CHECKED_AT_ONCE = 2**22


@dataclass
class DiskGraph:
    """A graph whose features and edges stay on disk.

    Attributes:
        folder: where it lies.
        x: [N, F] float32 or float16, mapped.
        csr: the edges by target, mapped; N row pointers too.
        y: [N] int64, in memory, -1 where a label is unknown.
        split: the ids of the folder's `train.npy`, `val.npy` and `test.npy`; None where it has none of them.
        num_classes: classes.
        scratch_folder: where whole-graph computations keep what does not fit in memory.
        sources: rows that they read at random at a time, None for all.
    """

    folder: Path
    x: Tensor
    csr: MappedCSR
    y: Tensor
    split: Split | None
    num_classes: int
    scratch_folder: Path
    sources: int | None = None

    @property
    def num_nodes(self) -> int:
        return self.x.size(0)

    def rows(self, ids: Tensor) -> Tensor:
        """[B, F] float32 features of some nodes, in memory."""
        return self.x[ids].float()

    def scratch(self, *shape: int) -> Tensor:
        """A float32 matrix over an unnamed file in `scratch_folder`."""
        return scratch(self.scratch_folder, shape)

    def fingerprint(self) -> str:
        """Which graph this is, from its meta file, sizes and a sample of its contents; reads a few hundred rows."""
        digest = hashlib.sha256(repr((tuple(self.x.shape), self.csr.num_edges, str(self.x.dtype))).encode())
        for tensor in (self.x, self.csr.rowptr, self.csr.col, self.y):
            if tensor.size(0):
                rows = torch.linspace(0, tensor.size(0) - 1, 257).long().clamp_(max=tensor.size(0) - 1)
                digest.update(tensor[rows].numpy().tobytes())
        return digest.hexdigest()


def disk_graph(
    path: str | Path, check: bool = True, scratch: str | Path | None = None, sources: int | None = None
) -> DiskGraph:
    """Open a folder with

        x.npy        [N, F] float32 or float16
        indptr.npy   [N + 1] int64, and indices.npy [E] int32 or int64: for each node the sources of its incoming
                     edges, ascending; for an undirected graph both directions, without loops
        y.npy        [N] integers, -1 for an unknown label
        train.npy, val.npy, test.npy   ids of nodes, no id twice; optional, all three or none
        meta.json    {"format": "structkd-graph-1", "num_classes": K}

    An edge list becomes `indptr.npy` and `indices.npy` with `import_edges`.

    Args:
        path: the folder.
        check: also read all of it once, for values that are not finite, ids out of range, rows that are not ascending
            and loops. Without it only what can be seen from sizes and row pointers is checked.
        scratch: folder for intermediate results, on a disk with room for two matrices of hidden features; default
            `path/scratch`.
        sources: where a matrix of hidden features or of teacher's probabilities is larger than memory, the rows of it
            that fit; see `structkd.ops.mapped.mapped_spmm`.

    Raises:
        DataError: a file is missing, cut short, of another type or shape, or holds what it must not; names the file.
    """
    folder = Path(path)
    meta = _meta(folder / "meta.json")
    x = open_npy(folder / "x.npy", FLOATS, (None, None), HOW)
    nodes = x.size(0)
    y = _labels(folder / "y.npy", nodes, meta["num_classes"])
    rowptr = open_npy(folder / "indptr.npy", ("int64",), (nodes + 1,), HOW)
    col = open_npy(folder / "indices.npy", ("int32", "int64"), (None,), HOW)
    _check_rowptr(folder / "indptr.npy", rowptr, col.numel())
    csr = MappedCSR(rowptr, col)
    if check:
        _check_edges(folder / "indices.npy", csr)
        _check_finite(folder / "x.npy", x)
    split = _split(folder, nodes)
    return DiskGraph(folder, x, csr, y, split, meta["num_classes"], Path(scratch or folder / "scratch"), sources)


def _meta(path: Path) -> Mapping[str, Any]:
    require_file(path, HOW)
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise damaged(path, error) from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise DataError(f'{path} does not describe a graph on disk; expected "format": "{FORMAT}".')
    if not isinstance(meta.get("num_classes"), int) or meta["num_classes"] < 1:
        raise DataError(f"{path}: num_classes is {meta.get('num_classes')!r}; expected a number above 0.")
    return meta


def _labels(path: Path, nodes: int, num_classes: int) -> Tensor:
    y = open_npy(path, INTEGERS, (nodes,), HOW, held=True).long()
    if nodes and (int(y.min()) < -1 or int(y.max()) >= num_classes):
        raise DataError(
            f"{path}: labels run from {int(y.min())} to {int(y.max())}; expected -1 (unknown) to {num_classes - 1}."
        )
    return y


def _check_rowptr(path: Path, rowptr: Tensor, edges: int) -> None:
    if int(rowptr[0]) != 0 or int(rowptr[-1]) != edges:
        raise DataError(
            f"{path} runs from {int(rowptr[0])} to {int(rowptr[-1])}; expected 0 to {edges}, the length of indices.npy."
        )
    for rows in row_blocks(rowptr.numel() - 1, _CHECKED_AT_ONCE):
        falls = (rowptr[rows.start : rows.stop + 1].diff() < 0).nonzero()
        if falls.numel():
            raise DataError(f"{path} falls after entry {rows.start + int(falls[0])}; expected ascending row pointers.")


def _check_edges(path: Path, csr: MappedCSR) -> None:
    for start, stop in csr.blocks(_CHECKED_AT_ONCE):
        block = csr.block(start, stop)
        if block.col.numel() == 0:
            continue
        low, high = (int(value) for value in torch.aminmax(block.col))
        if low < 0 or high >= csr.shape[1]:
            raise DataError(f"{path} names nodes {low} to {high}; expected 0 to {csr.shape[1] - 1}.")
        same = block.row[1:] == block.row[:-1]
        wrong = (same & (block.col[1:] <= block.col[:-1])).nonzero()
        if wrong.numel():
            row = start + int(block.row[int(wrong[0])])
            raise DataError(f"{path}: the sources of node {row} are not ascending, or one is there twice.")
        loops = (block.col == block.row + start).nonzero()
        if loops.numel():
            raise DataError(f"{path}: node {int(block.col[int(loops[0])])} has an edge to itself; expected no loops.")


def _check_finite(path: Path, x: Tensor) -> None:
    for rows in row_blocks(x.size(0)):
        bad = (~torch.isfinite(x[rows])).any(1).nonzero()
        if bad.numel():
            raise DataError(f"{path} holds NaN or infinity (first in row {rows.start + int(bad[0])}).")


def _split(folder: Path, nodes: int) -> Split | None:
    there = [name for name in PARTS if (folder / f"{name}.npy").is_file()]
    if not there:
        return None
    parts = []
    for name in PARTS:
        path = folder / f"{name}.npy"
        ids = open_npy(path, ("int64", "int32"), (None,), f"{folder} has {', '.join(there)}.npy.", held=True).long()
        if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= nodes):
            raise DataError(f"{path} names nodes {int(ids.min())} to {int(ids.max())}; expected 0 to {nodes - 1}.")
        parts.append(ids)
    try:
        return Split(*parts).check(nodes)
    except DataError as error:
        raise DataError(f"{folder}, train.npy, val.npy and test.npy: {error}") from error
