"""Graphs as numpy archives hold them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from structkd.datasets.files import damaged, require_file
from structkd.errors import DataError


def read_npz(path: str | Path, how: str) -> dict[str, Any]:
    """The arrays of an npz file; arrays of Python objects (names) are left out, nothing is unpickled."""
    path = require_file(path, how)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {}
            for name in archive.files:
                try:
                    arrays[name] = archive[name]
                except ValueError as error:
                    if "allow_pickle" not in str(error):
                        raise
            return arrays
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise damaged(path, error, how) from error


def benchmark_parts(arrays: dict[str, Any], path: Path) -> tuple[np.ndarray, Any, np.ndarray]:
    """A graph as the npz files of Shchur et al. 2018 (arXiv:1811.05868) hold it.

    Returns:
        edges [2, E] (stored directions, loops included), features as scipy CSR [N, F], labels [N].
    """
    adjacency, features = _matrix(arrays, "adj", path), _matrix(arrays, "attr", path)
    if "labels" not in arrays:
        raise DataError(f"{path} holds no labels; it has {', '.join(sorted(arrays))}.")
    sizes = {*adjacency.shape, features.shape[0], len(arrays["labels"])}
    if len(sizes) > 1:
        raise DataError(f"{path}: adjacency, attributes and labels speak of {sorted(sizes)} nodes; they must agree.")
    return np.stack(adjacency.nonzero()), features, arrays["labels"]


def _matrix(arrays: dict[str, Any], prefix: str, path: Path) -> Any:
    """The scipy CSR matrix stored as `<prefix>_data`, `_indices`, `_indptr`, `_shape`."""
    import scipy.sparse as sp

    names = [f"{prefix}_{part}" for part in ("data", "indices", "indptr", "shape")]
    missing = [name for name in names if name not in arrays]
    if missing:
        raise DataError(f"{path} holds no {', '.join(missing)}; it has {', '.join(sorted(arrays))}.")
    data, indices, indptr, shape = (arrays[name] for name in names)
    try:
        matrix = sp.csr_matrix((data, indices, indptr), shape=tuple(int(size) for size in shape))
        matrix.check_format(full_check=True)
    except ValueError as error:
        raise damaged(path, error) from error
    return matrix
