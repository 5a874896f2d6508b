import numpy as np
import pytest
import torch

from structkd.datasets.graphs import external_sort
from structkd.datasets.graphs.build import undirected
from structkd.datasets.graphs.external_sort import pieces_of, write_csr
from structkd.errors import DataError
from structkd.ops import csr_of


def drawn(edges=400, nodes=40, seed=0):
    """Edges with loops and duplicates; low ids are hubs."""
    random = np.random.default_rng(seed)
    return (nodes * random.random((2, edges)) ** 3).astype(np.int64)


def written(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["indices.npy", "indptr.npy"]  # nothing else is left
    return np.load(folder / "indptr.npy"), np.load(folder / "indices.npy")


@pytest.mark.parametrize("memory_keys", [1, 16, 300, 10**6])
@pytest.mark.parametrize("files", [2, 128])
def test_equals_the_csr_made_in_memory(tmp_path, monkeypatch, memory_keys, files):
    monkeypatch.setattr(external_sort, "FILES", files)
    edges = drawn()
    expected = csr_of(undirected(edges, 40), 40)
    count = write_csr(pieces_of(edges, 33), 40, tmp_path, memory_keys=memory_keys)
    indptr, indices = written(tmp_path)
    assert count == expected.num_edges
    assert indices.dtype == np.int32
    assert torch.equal(torch.from_numpy(indptr), expected.rowptr)
    assert torch.equal(torch.from_numpy(indices).long(), expected.col)


def test_directed_edges_keep_their_direction(tmp_path):
    write_csr([np.array([[2, 0, 2, 1], [1, 1, 1, 1]])], 3, tmp_path, undirected=False)
    indptr, indices = written(tmp_path)
    assert indptr.tolist() == [0, 0, 2, 2]
    assert indices.tolist() == [0, 2]


@pytest.mark.parametrize("pieces", [[], [np.empty((2, 0), dtype=np.int64)], [np.array([[1], [1]])]])
def test_no_edges(tmp_path, pieces):
    assert write_csr(pieces, 3, tmp_path) == 0
    indptr, indices = written(tmp_path)
    assert (indptr.tolist(), indices.tolist()) == ([0, 0, 0, 0], [])


def test_both_layouts_of_an_edge_list():
    edges = drawn(10)
    for layout in (edges, edges.T):
        assert np.array_equal(np.concatenate(list(pieces_of(layout, 3)), 1), edges)


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        (np.array([[0], [3]]), "0 to 2"),
        (np.array([[-1], [0]]), "0 to 2"),
        (np.array([[0.5], [1.0]]), "integers"),
        (np.array([0, 1]), "integers"),
    ],
)
def test_bad_edges_leave_no_file(tmp_path, piece, words):
    with pytest.raises(DataError, match=words):
        write_csr([piece], 3, tmp_path, source="edges.npy")
    assert list(tmp_path.iterdir()) == []
