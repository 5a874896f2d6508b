"""An edge list of any length as compressed rows on disk, in bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from structkd.errors import DataError
from structkd.npy import writing_npy

#: Keys that are sorted in memory at a time; sorting takes about three times their 8 bytes.
MEMORY_KEYS = 2**24
#: Files that a range of targets is cut into.
FILES = 128


def write_csr(
    pieces: Iterable[np.ndarray],
    num_nodes: int,
    folder: str | Path,
    undirected: bool = True,
    memory_keys: int = MEMORY_KEYS,
    source: str = "The edge list",
) -> int:
    """Write `indptr.npy` and `indices.npy`: for each node the sources of its incoming edges, ascending.

    A distribution sort: an edge becomes one 64-bit key, target * N + source; keys are sorted and spread over files by
    target, a file that is still too long is spread again, and what fits in memory is sorted once more and written.

    Args:
        pieces: arrays [2, n] of source and target ids, in any order, duplicates and loops allowed.
        num_nodes: N.
        folder: where the two files are written; while it works, also one key of 8 bytes for each directed edge.
        undirected: add every edge in the other direction too.
        memory_keys: keys sorted in memory at a time, at least.
        source: what the edges come from; opens the message about bad ids.

    Returns:
        The number of directed edges, without duplicates and loops: what `build.undirected` gives.

    Raises:
        DataError: an id out of range, or not [2, n] integers.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    degree = np.zeros(num_nodes, dtype=np.int64)
    width = "int32" if num_nodes <= 2**31 else "int64"
    with (
        tempfile.TemporaryDirectory(prefix=".sorting_", dir=folder) as work,
        writing_npy(folder / "indices.npy", width) as indices,
    ):
        keys = (_keys(piece, num_nodes, undirected, source) for piece in pieces)
        for sorted_keys in _sorted(keys, 0, num_nodes, num_nodes, Path(work), memory_keys):
            target = sorted_keys // num_nodes
            indices.append(sorted_keys - target * num_nodes)
            if len(target):
                first = int(target[0])
                counts = np.bincount(target - first)
                degree[first : first + len(counts)] += counts
        edges = indices.rows
    with writing_npy(folder / "indptr.npy", "int64") as indptr:
        indptr.append(np.concatenate([np.zeros(1, np.int64), np.cumsum(degree)]))
    return edges


def pieces_of(edges: np.ndarray, size: int = MEMORY_KEYS // 4) -> Iterator[np.ndarray]:
    """An array [2, E] or [E, 2] (a mapped one is read piece by piece) as arrays [2, n]."""
    if edges.ndim != 2 or 2 not in edges.shape:
        raise DataError(f"The edges have shape {list(edges.shape)}; expected [2, edges] or [edges, 2].")
    by_row = edges.shape[0] == 2
    for start in range(0, edges.shape[1 if by_row else 0], size):
        yield edges[:, start : start + size] if by_row else edges[start : start + size].T


def _keys(piece: np.ndarray, num_nodes: int, undirected: bool, where: str) -> np.ndarray:
    piece = np.asarray(piece)
    if piece.ndim != 2 or piece.shape[0] != 2 or piece.dtype.kind not in "iu":
        raise DataError(f"{where} has shape {list(piece.shape)} and type {piece.dtype}; expected [2, n] integers.")
    source, target = piece.astype(np.int64)
    if piece.size and (piece.min() < 0 or piece.max() >= num_nodes):
        raise DataError(f"{where} names nodes {piece.min()} to {piece.max()}; expected 0 to {num_nodes - 1}.")
    kept = source != target
    source, target = source[kept], target[kept]
    keys = target * num_nodes + source
    return np.concatenate([keys, source * num_nodes + target]) if undirected else keys


def _sorted(
    keys: Iterable[np.ndarray], low: int, high: int, num_nodes: int, folder: Path, memory_keys: int
) -> Iterator[np.ndarray]:
    """The distinct keys of the targets from `low` to `high`, ascending, in arrays that end where a target's keys do."""
    folder.mkdir(exist_ok=True)
    bounds = np.unique(np.linspace(low, high, FILES + 1).astype(np.int64))
    paths = [folder / f"{first}_{last}" for first, last in pairwise(bounds)]
    for piece in keys:
        piece = _distinct(piece)
        cuts = np.searchsorted(piece, bounds * num_nodes)
        for path, start, stop in zip(paths, cuts[:-1], cuts[1:]):
            if stop > start:
                with open(path, "ab") as file:
                    piece[start:stop].tofile(file)
    waiting: list[np.ndarray] = []  # small neighbours go together
    for path, first, last in zip(paths, bounds[:-1], bounds[1:], strict=True):
        if not path.is_file():
            continue
        size = path.stat().st_size // 8
        if size > memory_keys and last - first > 1:
            yield from _merged(waiting)
            waiting = []
            again = (np.fromfile(path, np.int64, memory_keys, offset=8 * at) for at in range(0, size, memory_keys))
            yield from _sorted(again, int(first), int(last), num_nodes, folder / f"{path.name}.parts", memory_keys)
        else:
            if waiting and size + sum(map(len, waiting)) > memory_keys:
                yield from _merged(waiting)
                waiting = []
            waiting.append(_distinct(np.fromfile(path, np.int64)))
        path.unlink()
    yield from _merged(waiting)


def _merged(parts: list[np.ndarray]) -> Iterator[np.ndarray]:
    if parts:
        yield np.concatenate(parts)


def _distinct(keys: np.ndarray) -> np.ndarray:
    """Sorts the keys in place and leaves each once; `np.unique` hashes them first, which takes many times longer."""
    keys.sort()
    kept = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=kept[1:])
    return keys[kept]
