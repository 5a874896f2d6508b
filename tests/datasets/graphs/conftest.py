"""Small graphs, and files of the published layouts with them inside."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from structkd.datasets import EdgeBatches, FullGraph, NodeBatches, NodeData, Split, synthetic_graph

#: Every kind of loader, as a function of the data.
LOADERS = {
    "full": lambda nodes, **kw: FullGraph(nodes),
    "nodes": lambda nodes, **kw: NodeBatches(nodes, 16, **kw),
    "nodes and edges": lambda nodes, **kw: NodeBatches(nodes, 16, fanouts=[-1], **kw),
    "sampled": lambda nodes, **kw: NodeBatches(nodes, 16, fanouts=[3, 2], **kw),
    "train": lambda nodes, **kw: NodeBatches(nodes, 8, seeds="train", fanouts=[5, 5], **kw),
    "edges": lambda nodes, **kw: EdgeBatches(nodes, 64, **kw),
}


@pytest.fixture(params=LOADERS)
def loader_kind(request):
    """Each kind of loader in turn: its `name`, and `make(node_data, seed=, rank=, world_size=)`."""
    return SimpleNamespace(name=request.param, make=LOADERS[request.param])


@pytest.fixture
def same_batches():
    """Asserts that two lists of batches hold the same fields with the same values."""

    def check(a, b):
        for one, other in zip(a, b, strict=True):
            assert one.keys() == other.keys()
            for name, value in one.to_dict().items():
                same = torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
                assert same, name

    return check


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


@pytest.fixture
def under_split():
    """A graph under a split: a fifth trains, a fifth selects, the last `held_out` of the rest are held out."""

    def split(graph, held_out=0) -> NodeData:
        size = graph.num_nodes
        ids, fifth = torch.randperm(size, generator=torch.Generator().manual_seed(1)), size // 5
        stop = size - held_out
        return NodeData(graph, Split(ids[:fifth], ids[fifth : 2 * fifth], ids[2 * fifth : stop], ids[stop:]))

    return split


@pytest.fixture
def transductive(graph, under_split) -> NodeData:
    return under_split(graph)


@pytest.fixture
def inductive(graph, under_split) -> NodeData:
    return under_split(graph, held_out=12)


@pytest.fixture(params=["transductive", "inductive"])
def nodes(request) -> NodeData:
    return request.getfixturevalue(request.param)


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
