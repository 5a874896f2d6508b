import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import Data

from structkd.datasets.graphs import build
from structkd.errors import DataError


def test_undirected_merges_turns_and_drops(edge_set):
    edges = build.undirected(torch.tensor([[3, 0, 1, 2, 0, 0], [0, 3, 1, 1, 1, 1]]), 4)
    assert edge_set(edges) == {(0, 3), (3, 0), (1, 2), (2, 1), (0, 1), (1, 0)}
    assert edges[:, :3].tolist() == [[0, 0, 1], [1, 3, 2]]


@pytest.mark.parametrize("nodes", [0, 1, 5])
def test_undirected_without_edges(nodes):
    assert build.undirected(torch.empty(2, 0, dtype=torch.long), nodes).shape == (2, 0)
    if nodes:
        assert build.undirected(torch.tensor([[0], [0]]), nodes).shape == (2, 0)


def test_features_keep_their_values_in_every_layout():
    dense = np.array([[0, 2, 0], [1, 0, 3]])
    tensor = torch.from_numpy(dense)
    for given in (
        dense,
        tensor,
        sp.csr_matrix(dense),
        sp.coo_matrix(dense),
        tensor.to_sparse_csr(),
        tensor.to_sparse(),
    ):
        for sparse in (None, True, False):
            x = build.features(given, sparse)
            stays = sparse is None and isinstance(given, torch.Tensor) and given.layout != torch.strided
            assert x.dtype == torch.float32
            assert x.layout == (torch.sparse_csr if sparse or stays else torch.strided)
            assert x.to_dense().tolist() == dense.tolist()


def test_only_large_sparse_matrices_stay_sparse_by_themselves(monkeypatch):
    monkeypatch.setattr(build, "DENSE_ENTRIES", 5)
    assert build.features(sp.csr_matrix((2, 3))).layout == torch.sparse_csr
    assert build.features(np.zeros((2, 3))).layout == torch.strided
    monkeypatch.setattr(build, "DENSE_ENTRIES", 6)
    assert build.features(sp.csr_matrix((2, 3))).layout == torch.strided


def good(**changes):
    fields = dict(x=torch.ones(3, 2), edge_index=torch.tensor([[0, 1], [1, 2]]), y=torch.tensor([0, -1, 1]))
    return Data(**(fields | changes))


def test_good_graphs_pass():
    build.check_graph(good(), "graph")
    build.check_graph(good(x=torch.eye(3).to_sparse_csr(), edge_index=torch.empty(2, 0, dtype=torch.long)), "graph")
    build.check_graph(good(y=torch.tensor([[0.0, 1], [-1, -1], [1, 1]])), "graph")


NAN = torch.tensor([[0.0, 1], [1, float("nan")], [0, 0]])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(x=None), ["x"]),
        (dict(x=torch.ones(3)), ["(3,)"]),
        (dict(x=NAN), ["NaN", "row 1"]),
        (dict(x=NAN.to_sparse_csr()), ["NaN"]),
        (dict(x=torch.full((3, 2), torch.inf)), ["infinity"]),
        (dict(edge_index=torch.tensor([[0], [3]])), ["0 to 3", "0 to 2"]),
        (dict(edge_index=torch.tensor([[-1], [2]])), ["-1 to 2"]),
        (dict(edge_index=torch.tensor([0, 1])), ["[2, edges]"]),
        (dict(edge_index=torch.zeros(2, 1)), ["int64"]),
        (dict(y=torch.tensor([0, 1])), ["3 rows"]),
        (dict(y=torch.tensor([0.0, 1, 1])), ["int64"]),
        (dict(y=torch.tensor([0, -2, 1])), ["-2"]),
        (dict(y=torch.tensor([-1, -1, -1])), ["no node has a label"]),
        (dict(val_mask=torch.ones(2, dtype=torch.bool)), ["val_mask", "[3]"]),
        (dict(test_mask=torch.ones(3)), ["test_mask", "bool"]),
    ],
)
def test_bad_graphs_are_named(changes, words, one_paragraph):
    with pytest.raises(DataError) as error:
        build.check_graph(good(**changes), "my graph")
    one_paragraph(error, "my graph", *words)


def test_ids_are_checked_before_they_are_used():
    with pytest.raises(DataError, match="0 to 9"):
        build.graph_data(np.ones((3, 2)), np.array([[0], [9]]), [0, 1, 0], "graph")
