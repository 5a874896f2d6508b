"""Amazon co-purchase and Coauthor graphs, read from their npz files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch_geometric.data import Data

from structkd.datasets.graphs.build import graph_data
from structkd.datasets.graphs.files import benchmark_parts, read_npz
from structkd.errors import ConfigError, nearest

#: name -> (PyG's class, file)
FILES = {
    "Computers": ("Amazon", "amazon_electronics_computers.npz"),
    "Photo": ("Amazon", "amazon_electronics_photo.npz"),
    "CS": ("Coauthor", "ms_academic_cs.npz"),
    "Physics": ("Coauthor", "ms_academic_phy.npz"),
}


def npz_path(root: str | Path, name: str) -> tuple[Path, str]:
    """Where the file of an Amazon or Coauthor graph lies below `root`, and how to get it."""
    family, file = FILES[name]
    code = f"from torch_geometric.datasets import {family}; {family}('{root}', '{name}')"
    how = f'Download it with: python -c "{code}", or choose digits_graph, which needs no download.'
    return Path(root) / name / "raw" / file, how


def _read(root: str | Path, name: str, family: str, counts: bool, sparse: bool | None) -> Data:
    names = [key for key, (owner, _) in FILES.items() if owner == family]
    if name not in names:
        raise ConfigError(f"{family.lower()}_graph(name={name!r}): there is no such graph. {nearest(name, names)}")
    path, how = npz_path(root, name)
    edges, x, labels = benchmark_parts(read_npz(path, how), path)
    if not counts:
        x.data = (x.data > 0).astype(np.float32)
    return graph_data(x, edges, labels, str(path), sparse)


def amazon_graph(root: str | Path, name: str = "Photo", counts: bool = False, sparse: bool | None = None) -> Data:
    """An Amazon co-purchase graph (Shchur et al. 2018, arXiv:1811.05868).

    Args:
        root: folder that holds `<name>/raw/amazon_electronics_<name>.npz`, PyG's layout.
        name: "Photo" (7650 nodes, 119081 edges, 745 features, 8 classes) or "Computers" (13752, 245861, 767, 10).
        counts: keep the stored values; default 0/1, as PyG.
        sparse: True or False for sparse CSR or dense features; default dense below 256 MB.
    """
    return _read(root, name, "Amazon", counts, sparse)


def coauthor_graph(root: str | Path, name: str = "CS", counts: bool = False, sparse: bool | None = None) -> Data:
    """A Coauthor graph of the Microsoft Academic Graph (Shchur et al. 2018, arXiv:1811.05868).

    Args:
        root: folder that holds `<name>/raw/ms_academic_{cs,phy}.npz`, PyG's layout.
        name: "CS" (18333 nodes, 81894 edges, 6805 features, 15 classes) or "Physics" (34493, 247962, 8415, 5).
        counts: keep the keyword counts (1 to 105 in CS), as KRD and HGMD use them; default 0/1, as PyG.
        sparse: True or False for sparse CSR or dense features; by default both graphs stay sparse (dense they take
            0.5 and 1.2 GB).
    """
    return _read(root, name, "Coauthor", counts, sparse)
