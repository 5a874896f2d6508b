"""Small graphs, and files of the published layouts with them inside."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from structkd.datasets import NodeData, Split, synthetic_graph


@pytest.fixture
def one_paragraph():
    """Asserts that an error is one paragraph that holds some words."""

    def check(error, *words):
        message = str(error.value)
        assert "\n" not in message
        for word in words:
            assert str(word) in message, message

    return check


@pytest.fixture
def graph() -> Data:
    """60 nodes, 150 edges, 6 features, 3 classes."""
    return synthetic_graph(num_nodes=60, num_edges=150, num_features=6, num_classes=3, seed=3)


def split_of(num_nodes, held_out=0):
    """Ids in order: a fifth trains, a fifth selects, the last `held_out` of the rest are held out."""
    ids, fifth = torch.randperm(num_nodes, generator=torch.Generator().manual_seed(1)), num_nodes // 5
    stop = num_nodes - held_out
    return Split(ids[:fifth], ids[fifth : 2 * fifth], ids[2 * fifth : stop], ids[stop:])


@pytest.fixture
def transductive(graph) -> NodeData:
    return NodeData(graph, split_of(60))


@pytest.fixture
def inductive(graph) -> NodeData:
    return NodeData(graph, split_of(60, held_out=12))


@pytest.fixture
def write_npz():
    """Writes a graph as the benchmark npz files store it: CSR parts of adjacency and attributes, labels."""
    import scipy.sparse as sp

    def write(path, edges, attributes, labels, weight=1.0):
        path.parent.mkdir(parents=True, exist_ok=True)
        size = len(labels)
        row, col = np.array(edges, dtype=np.int64).reshape(-1, 2).T
        adjacency = sp.csr_matrix((np.full(len(row), weight, np.float32), (row, col)), (size, size))
        matrices = {"adj": adjacency, "attr": sp.csr_matrix(np.array(attributes, dtype=np.float32))}
        parts = {
            f"{name}_{part}": getattr(matrix, part)
            for name, matrix in matrices.items()
            for part in ("data", "indices", "indptr", "shape")
        }
        names = np.array(["class"], dtype=object)  # the originals hold such names, which only pickle can read
        np.savez(path, **parts, labels=np.array(labels), class_names=names)
        return path

    return write


@pytest.fixture
def edge_set():
    """The edges of a graph as a set of pairs; asserts that both directions are there once and no loop."""

    def edges(edge_index):
        pairs = [tuple(pair) for pair in edge_index.t().tolist()]
        known = set(pairs)
        assert len(pairs) == len(known)
        assert all(u != v and (v, u) in known for u, v in pairs)
        return known

    return edges
