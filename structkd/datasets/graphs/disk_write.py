"""Writing the folder of a graph on disk, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from structkd.datasets.graphs.disk import FLOATS, FORMAT, HOW, INTEGERS, PARTS
from structkd.datasets.graphs.external_sort import MEMORY_KEYS, pieces_of, write_csr
from structkd.datasets.graphs.npy import open_npy
from structkd.datasets.graphs.protocols import Split
from structkd.files import atomic_write_json
from structkd.npy import writing_npy


def write_graph(
    folder: str | Path,
    x: Iterable[np.ndarray | Tensor],
    edges: Iterable[np.ndarray],
    y: np.ndarray | Tensor,
    num_classes: int,
    split: Split | None = None,
    dtype: str = "float32",
    memory_keys: int = MEMORY_KEYS,
) -> Path:
    """Write a folder that `disk_graph` opens, in bounded memory; the meta file comes last.

    Args:
        folder: made where it is missing.
        x: the rows of the features in order, in pieces [n, F].
        edges: pieces [2, n] of an edge list; made undirected, without duplicates and loops.
        y: [N] class ids, -1 = unknown.
        num_classes: K.
        split: ids to train, select and test by.
        dtype: "float32" or "float16" features.
        memory_keys: see `write_csr`.

    Returns:
        The folder.
    """
    folder = Path(folder)
    (folder / "meta.json").unlink(missing_ok=True)
    labels = torch.as_tensor(y).numpy()
    _save(folder / "y.npy", labels)
    for name in PARTS if split is not None else ():
        _save(folder / f"{name}.npy", getattr(split, name).numpy())
    write_features(folder, x, dtype)
    count = write_csr(edges, len(labels), folder, memory_keys=memory_keys)
    meta = {"format": FORMAT, "num_nodes": len(labels), "num_edges": count, "num_classes": num_classes}
    atomic_write_json(folder / "meta.json", meta)
    return folder


def write_features(folder: Path, x: Iterable[np.ndarray | Tensor], dtype: str = "float32") -> None:
    """Write `x.npy` from its rows, in pieces [n, F]."""
    pieces = iter(x)
    first = torch.as_tensor(next(pieces))
    with writing_npy(folder / "x.npy", dtype, (first.size(1),)) as file:
        file.append(first)
        for piece in pieces:
            file.append(torch.as_tensor(piece))


def import_edges(folder: str | Path, edges: str | Path, num_classes: int | None = None, undirected: bool = True) -> int:
    """Turn an edge list into the compressed rows of a folder that has `x.npy` and `y.npy`, and write its meta file.

    Args:
        folder: with `x.npy` and `y.npy`.
        edges: `.npy` file of [2, E] or [E, 2] integers, source and target; read piece by piece.
        num_classes: default: the largest label and one.
        undirected: add every edge in the other direction too.

    Returns:
        The number of directed edges written.
    """
    folder, edges = Path(folder), Path(edges)
    x = open_npy(folder / "x.npy", FLOATS, (None, None), HOW)
    y = open_npy(folder / "y.npy", INTEGERS, (x.size(0),), HOW, held=True)
    (folder / "meta.json").unlink(missing_ok=True)  # until all is in place again
    listed = open_npy(edges, ("int64", "int32", "uint32"), (None, None), by_columns=True)
    count = write_csr(pieces_of(listed.numpy()), x.size(0), folder, undirected, source=str(edges))
    classes = int(y.max()) + 1 if num_classes is None else num_classes
    meta = {"format": FORMAT, "num_nodes": x.size(0), "num_edges": count, "num_classes": classes}
    atomic_write_json(folder / "meta.json", meta)
    return count


def _save(path: Path, array: np.ndarray) -> None:
    with writing_npy(path, array.dtype.name, array.shape[1:]) as file:
        file.append(array)
