import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from structkd.datasets import custom_graph
from structkd.errors import ConfigError, DataError

X = [[0.5, 1.0], [2.0, 3.0], [4.0, 5.0]]
EDGES = [(0, 1), (1, 1), (2, 1)]
Y = [0, 1, -1]
MASKS = {name: torch.tensor(rows) for name, rows in [("train_mask", [True, False, False]), ("val_mask", [False] * 3)]}


def data(**changes):
    fields = dict(x=torch.tensor(X), edge_index=torch.tensor(EDGES).t(), y=torch.tensor(Y))
    return Data(**(fields | changes))


def write_tables(folder, x=X, edges=EDGES, y=Y, header=False):
    folder.mkdir(exist_ok=True)
    for name, rows in (("edges", edges), ("features", x), ("labels", [(label,) for label in y])):
        lines = [",".join(map(str, row)) for row in rows]
        (folder / f"{name}.csv").write_text("\n".join([*(["a,b"] if header else []), *lines]) + "\n")
    return folder


def check(graph, edge_set):
    assert edge_set(graph.edge_index) == {(0, 1), (1, 0), (1, 2), (2, 1)}
    assert graph.x.tolist() == X
    assert graph.y.tolist() == Y
    assert graph.y.dtype == torch.long


def test_pyg_file(tmp_path, edge_set):
    for content in (data(**MASKS), data(**MASKS).to_dict(), (data(**MASKS), None)):
        torch.save(content, tmp_path / "graph.pt")
        graph = custom_graph(tmp_path / "graph.pt")
        check(graph, edge_set)
        assert graph.train_mask.tolist() == [True, False, False]
    assert custom_graph("graph.pt", root=tmp_path, sparse=True).x.layout == torch.sparse_csr


def test_pyg_file_with_sparse_features(tmp_path, edge_set):
    torch.save(data(x=torch.tensor(X).to_sparse_csr()), tmp_path / "graph.pt")
    graph = custom_graph(tmp_path / "graph.pt")
    assert graph.x.layout == torch.sparse_csr
    assert graph.x.to_dense().tolist() == X


def test_npz_of_arrays_and_of_csr_parts(tmp_path, write_npz, edge_set):
    np.savez(tmp_path / "a.npz", x=X, edge_index=np.array(EDGES).T, y=Y, train_mask=[True, False, False])
    graph = custom_graph(tmp_path / "a.npz")
    check(graph, edge_set)
    assert graph.train_mask.dtype == torch.bool
    check(custom_graph(write_npz(tmp_path / "b.npz", EDGES, X, Y)), edge_set)


@pytest.mark.parametrize("header", [False, True])
def test_tables(tmp_path, edge_set, header):
    folder = write_tables(tmp_path / "mine", header=header)
    check(custom_graph(folder), edge_set)
    check(custom_graph("mine", root=tmp_path), edge_set)
    check(
        custom_graph(edges=folder / "edges.csv", features=folder / "features.csv", labels=folder / "labels.csv"),
        edge_set,
    )
    np.save(folder / "features.npy", np.array(X))
    (folder / "features.csv").unlink()
    check(custom_graph(folder), edge_set)


def test_no_edges(tmp_path):
    folder = write_tables(tmp_path / "mine", edges=[])
    assert custom_graph(folder).edge_index.shape == (2, 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(x=[[0.5, "nan"], [2, 3], [4, 5]]), ["features.csv", "NaN", "row 0"]),
        (dict(x=X[:2]), ["features.csv", "2 rows", "labels.csv", "3"]),
        (dict(x=[[0.5, 1], [2], [4, 5]]), ["features.csv"]),
        (dict(x=[["a", "b"], ["c", "d"], [1, 2]]), ["features.csv"]),
        (dict(y=[0, -2, 1]), ["-2"]),
        (dict(y=[0, 0.5, 1]), ["whole"]),
        (dict(y=[0, "nan", 1]), ["whole"]),
        (dict(y=[-1, -1, -1]), ["no node has a label"]),
        (dict(edges=[(0, 3)]), ["edges.csv", "0 to 3", "0 to 2"]),
        (dict(edges=[(0, -1)]), ["-1"]),
        (dict(edges=[(0, 0.5)]), ["whole"]),
        (dict(edges=[(0, 1, 2)]), ["edges.csv", "3 columns"]),
    ],
)
def test_bad_tables_are_named(tmp_path, changes, words, one_paragraph):
    with pytest.raises(DataError) as error:
        custom_graph(write_tables(tmp_path / "mine", **changes))
    one_paragraph(error, tmp_path / "mine", *words)


@pytest.mark.parametrize("missing", ["edges.csv", "features.csv", "labels.csv"])
def test_missing_table(tmp_path, missing, one_paragraph):
    folder = write_tables(tmp_path / "mine")
    (folder / missing).unlink()
    with pytest.raises(DataError) as error:
        custom_graph(folder)
    one_paragraph(error, folder / missing)


def test_labels_against_the_number_of_classes(tmp_path):
    folder = write_tables(tmp_path / "mine", y=[0, 1, 2])
    assert custom_graph(folder, num_classes=3).y.max() == 2
    with pytest.raises(DataError, match="up to 2; with 2 classes, at most 1"):
        custom_graph(folder, num_classes=2)


@pytest.mark.parametrize("suffix", ["pt", "npz"])
def test_missing_and_cut_short(tmp_path, suffix, one_paragraph):
    path = tmp_path / f"graph.{suffix}"
    with pytest.raises(DataError) as error:
        custom_graph(path)
    one_paragraph(error, path, "There is no file")
    if suffix == "pt":
        torch.save(data(), path)
    else:
        np.savez(path, x=X, edge_index=np.array(EDGES).T, y=Y)
    whole = path.read_bytes()
    for size in (0, 20, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError) as error:
            custom_graph(path)
        one_paragraph(error, path, "cut short")


class Surprise:
    def __reduce__(self):
        return exec, ("raise SystemExit('the file ran code')",)


def test_code_in_a_file_is_refused(tmp_path, one_paragraph):
    torch.save({"x": Surprise()}, tmp_path / "graph.pt")
    with pytest.raises(DataError) as error:
        custom_graph(tmp_path / "graph.pt")
    one_paragraph(error, tmp_path / "graph.pt", "nothing else")
    np.savez(tmp_path / "graph.npz", x=np.array([Surprise()], dtype=object), edge_index=np.array(EDGES).T, y=Y)
    with pytest.raises(DataError, match="holds no 'x'"):
        custom_graph(tmp_path / "graph.npz")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (data(y=None), ["'y'"]),
        (data(x=torch.ones(2, 2)), ["0 to 2", "2 rows"]),
        (data(edge_index=torch.zeros(3, 2)), ["[2, edges]"]),
        (data(train_mask=torch.ones(4, dtype=torch.bool)), ["train_mask"]),
        (data(x=torch.full((3, 2), float("nan"))), ["NaN"]),
        (dict(x="text", edge_index=torch.zeros(2, 0), y=torch.zeros(3)), ["x is no array"]),
        (torch.ones(3), ["Tensor", "Data"]),
    ],
)
def test_bad_files_are_named(tmp_path, content, words, one_paragraph):
    torch.save(content, tmp_path / "graph.pt")
    with pytest.raises(DataError) as error:
        custom_graph(tmp_path / "graph.pt")
    one_paragraph(error, tmp_path / "graph.pt", *words)


def test_wrong_calls(tmp_path):
    with pytest.raises(ConfigError, match="labels"):
        custom_graph(edges="a.csv", features="b.csv")
    with pytest.raises(ConfigError, match="not both"):
        custom_graph(tmp_path, edges="a.csv")
    (tmp_path / "graph.txt").touch()
    with pytest.raises(DataError, match=r"\.pt file"):
        custom_graph(tmp_path / "graph.txt")
