"""The graphs of the CPF protocol: largest connected components, as GLNN, NOSMOG, VQGraph and TINED use them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch_geometric.data import Data

from structkd.datasets.graphs.amazon_coauthor import npz_path
from structkd.datasets.graphs.build import graph_data
from structkd.datasets.graphs.files import benchmark_parts, read_npz
from structkd.errors import ConfigError, nearest

NAMES = ("cora", "citeseer", "pubmed", "photo", "computers")


def cpf_graph(root: str | Path, name: str = "cora", sparse: bool | None = None) -> Data:
    """A graph as CPF (Yang et al., WWW 2021, arXiv:2103.02885) and GLNN (Zhang et al., ICLR 2022) prepare it.

    Undirected, unweighted, without loops, reduced to its largest connected component; nodes keep their order.

    Args:
        root: folder that holds `cpf_npz/{cora,citeseer,pubmed}.npz`, and for the Amazon graphs
            `Photo/raw/amazon_electronics_photo.npz`, `Computers/raw/amazon_electronics_computers.npz`.
        name: "cora" (2485 nodes, 5069 edges), "citeseer" (2110, 3668), "pubmed", "photo" (7487, 119043) or
            "computers" (13381, 245778).
        sparse: True or False for sparse CSR or dense features; default dense.

    Returns:
        `Data` with the features as stored (0/1 words, not normalised). These are not the graphs of
        `planetoid_graph`: figures on the two must not be compared.

    Differences: CPF adds a self loop to every node and so does its SAGE layer; here loops are the models' business.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if name not in NAMES:
        raise ConfigError(f"cpf_graph(name={name!r}): there is no such graph. {nearest(name, NAMES)}")
    if name in ("photo", "computers"):
        path, how = npz_path(root, name.capitalize())
    else:
        path = Path(root) / "cpf_npz" / f"{name}.npz"
        how = (
            f"Take data/npz/{name}.npz of the CPF repository (github.com/BUPT-GAMMA/CPF) and put it there, "
            "or choose digits_graph, which needs no download."
        )
    edges, x, labels = benchmark_parts(read_npz(path, how), path)
    nodes = len(labels)
    _, component = connected_components(coo_matrix((np.ones(edges.shape[1]), tuple(edges)), (nodes, nodes)), False)
    inside = component == np.bincount(component).argmax()
    row = np.cumsum(inside) - 1
    edges = row[edges[:, inside[edges[0]]]]
    return graph_data(x[inside], edges, labels[inside], str(path), sparse)
