"""The readers of published layouts, on small files of those layouts and on the real ones."""

import gzip
import pickle
import shutil

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.datasets import Amazon, Planetoid

from structkd.datasets import amazon_graph, coauthor_graph, cpf_graph, make_split, ogb_graph, planetoid_graph
from structkd.errors import ConfigError, DataError


def write_planetoid(root, name="Cora", nodes=504):
    """A path of nodes: the first two train, the last two test and are listed in reverse; PyG takes 500 to validate."""
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    x, y = np.eye(nodes, 4, dtype=np.float32), np.eye(2)[np.arange(nodes) % 2]
    rest, order = nodes - 2, [nodes - 1, nodes - 2]
    parts = dict(
        x=sp.csr_matrix(x[:2]), y=y[:2], allx=sp.csr_matrix(x[:rest]), ally=y[:rest], tx=sp.csr_matrix(x[order]),
        ty=y[order], graph={i: [j for j in (i - 1, i + 1) if 0 <= j < nodes] for i in range(nodes)},
    )  # fmt: skip
    for part, value in parts.items():
        with (folder / f"ind.{name.lower()}.{part}").open("wb") as file:
            pickle.dump(value, file)
    (folder / f"ind.{name.lower()}.test.index").write_text("".join(f"{i}\n" for i in order))
    return folder


def test_planetoid_reads_raw_files_and_writes_nothing(tmp_path, edge_set):
    folder = write_planetoid(tmp_path)
    folder.chmod(0o555)
    data = planetoid_graph(tmp_path)
    path = {(i, i + 1) for i in range(503)}
    assert edge_set(data.edge_index) == path | {(j, i) for i, j in path}
    assert data.y.tolist() == [i % 2 for i in range(504)]
    assert data.x.tolist() == np.eye(504, 4).tolist()
    split = make_split("public", data)
    assert [split.train.tolist(), split.val.tolist()] == [[0, 1], list(range(2, 502))]
    assert split.test.tolist() == [502, 503]
    assert [path.name for path in (tmp_path / "Cora").iterdir()] == ["raw"]
    assert planetoid_graph(tmp_path, sparse=True).x.layout == torch.sparse_csr


def test_planetoid_missing_or_cut_short(tmp_path, one_paragraph):
    with pytest.raises(DataError) as error:
        planetoid_graph(tmp_path)
    one_paragraph(error, tmp_path / "Cora" / "raw" / "ind.cora.x", "Planetoid(", "digits_graph")
    folder = write_planetoid(tmp_path)
    whole = (folder / "ind.cora.allx").read_bytes()
    (folder / "ind.cora.allx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError) as error:
        planetoid_graph(tmp_path)
    one_paragraph(error, "ind.cora", "cut short")
    (folder / "ind.cora.allx").write_bytes(whole)
    for listed in ("503\n", "503\n50", "503\n503\n"):  # PyG's parser takes the first two for a complete list
        (folder / "ind.cora.test.index").write_text(listed)
        with pytest.raises(DataError) as error:
            planetoid_graph(tmp_path)
        one_paragraph(error, "ind.cora.test.index", "2 test nodes", "cut short")
    with pytest.raises(ConfigError, match="CiteSeer"):
        planetoid_graph(tmp_path, "Citeseer")


def test_amazon_and_coauthor_values_and_counts(tmp_path, write_npz, edge_set):
    attributes = [[0, 3], [1, 0], [2, 7]]
    write_npz(tmp_path / "Photo/raw/amazon_electronics_photo.npz", [(0, 1), (1, 1), (2, 1)], attributes, [0, 1, 1])
    write_npz(tmp_path / "CS/raw/ms_academic_cs.npz", [(0, 1)], attributes, [0, 1, 1])
    data = amazon_graph(tmp_path, "Photo")
    assert edge_set(data.edge_index) == {(0, 1), (1, 0), (1, 2), (2, 1)}
    assert data.x.tolist() == [[0, 1], [1, 0], [1, 1]]
    assert data.y.tolist() == [0, 1, 1]
    assert coauthor_graph(tmp_path, "CS", counts=True).x.tolist() == attributes
    sparse = coauthor_graph(tmp_path, "CS", sparse=True)
    assert sparse.x.layout == torch.sparse_csr
    assert torch.equal(sparse.x.to_dense(), data.x)


def test_npz_missing_cut_short_or_other(tmp_path, write_npz, one_paragraph):
    with pytest.raises(DataError) as error:
        amazon_graph(tmp_path, "Computers")
    path = tmp_path / "Computers" / "raw" / "amazon_electronics_computers.npz"
    one_paragraph(error, path, "Amazon(")
    write_npz(path, [(0, 1)], [[1], [0]], [0, 1])
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError) as error:
            amazon_graph(tmp_path, "Computers")
        one_paragraph(error, path, "cut short")
    with np.load(write_npz(path, [(0, 1)], [[1], [0]], [0, 1])) as archive:
        parts = {name: archive[name] for name in archive.files if name != "class_names"}
    for change, words in (
        ({"labels": None}, "no labels"),
        ({"adj_data": None}, "no adj_data"),
        ({"labels": np.zeros(5, int)}, "[2, 5]"),
        ({"attr_indices": np.array([9])}, "damaged"),
    ):
        np.savez(path, **{name: value for name, value in (parts | change).items() if value is not None})
        with pytest.raises(DataError) as error:
            amazon_graph(tmp_path, "Computers")
        one_paragraph(error, path, words)
    with pytest.raises(ConfigError, match="Photo"):
        amazon_graph(tmp_path, "CS")
    with pytest.raises(ConfigError, match="Physics"):
        coauthor_graph(tmp_path, "Physic")


def test_labels_out_of_range(tmp_path, write_npz, one_paragraph):
    path = write_npz(tmp_path / "CS/raw/ms_academic_cs.npz", [(0, 1)], [[1], [0]], [0, -5])
    with pytest.raises(DataError) as error:
        coauthor_graph(tmp_path, "CS")
    one_paragraph(error, path, "-5")


def test_cpf_takes_the_largest_component(tmp_path, write_npz, edge_set):
    edges = [(0, 1), (5, 2), (2, 3), (3, 3), (3, 2), (4, 4)]  # components {0, 1}, {2, 3, 5}, {4}; loops; both ways
    attributes = np.arange(12).reshape(6, 2)
    write_npz(tmp_path / "cpf_npz/cora.npz", edges, attributes, [0, 1, 2, 0, 1, 2], weight=4.0)
    data = cpf_graph(tmp_path, "cora")
    assert edge_set(data.edge_index) == {(0, 1), (1, 0), (0, 2), (2, 0)}
    assert data.x.tolist() == attributes[[2, 3, 5]].tolist()
    assert data.y.tolist() == [2, 0, 2]


def test_cpf_missing(tmp_path, one_paragraph):
    for name, path in (("citeseer", "cpf_npz/citeseer.npz"), ("photo", "Photo/raw/amazon_electronics_photo.npz")):
        with pytest.raises(DataError) as error:
            cpf_graph(tmp_path, name)
        one_paragraph(error, tmp_path / path)
    with pytest.raises(ConfigError, match="cora"):
        cpf_graph(tmp_path, "Cora")


def write_ogb(root):
    folder = root / "ogbn_arxiv"
    tables = {
        "raw/edge": [(0, 1), (1, 2), (2, 2), (2, 1)],
        "raw/node-feat": [(0.5, 1), (2, 3), (4, 5), (6, 7)],
        "raw/node-label": [(0,), (1,), (1,), (0,)],
        "split/time/train": [(3,)],
        "split/time/valid": [(0,)],
        "split/time/test": [(1,), (2,)],
    }
    for name, rows in tables.items():
        path = folder / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt") as file:
            file.writelines(",".join(map(str, row)) + "\n" for row in rows)
    return folder


def test_ogb_reads_the_raw_tables(tmp_path, edge_set, one_paragraph):
    pytest.importorskip("pandas")
    with pytest.raises(DataError) as error:
        ogb_graph(tmp_path)
    one_paragraph(error, tmp_path / "ogbn_arxiv" / "raw" / "edge.csv.gz", "NodePropPredDataset")
    folder = write_ogb(tmp_path)
    data = ogb_graph(tmp_path)
    assert edge_set(data.edge_index) == {(0, 1), (1, 0), (1, 2), (2, 1)}
    assert data.x.tolist() == [[0.5, 1], [2, 3], [4, 5], [6, 7]]
    split = make_split("ogb", data)
    assert [split.train.tolist(), split.val.tolist(), split.test.tolist()] == [[3], [0], [1, 2]]
    damaged = folder / "raw" / "node-feat.csv.gz"
    damaged.write_bytes(damaged.read_bytes()[:20])
    with pytest.raises(DataError) as error:
        ogb_graph(tmp_path)
    one_paragraph(error, damaged, "cut short")


def test_ogb_without_pandas(tmp_path, monkeypatch):
    from structkd.datasets.graphs import ogb

    monkeypatch.setattr(ogb, "version", lambda package: None)
    with pytest.raises(ConfigError, match="pip install"):
        ogb_graph(tmp_path)


def same_graph(ours, theirs, edge_set):
    assert edge_set(ours.edge_index) == edge_set(theirs.edge_index)
    assert torch.equal(ours.x.to_dense(), theirs.x)
    assert torch.equal(ours.y, theirs.y)


@pytest.mark.parametrize(("name", "nodes", "edges"), [("Cora", 2708, 5278), ("CiteSeer", 3327, 4552)])
def test_real_planetoid_is_what_pyg_reads(real_data, tmp_path, name, nodes, edges, edge_set):
    data = planetoid_graph(real_data / "graphs", name)
    assert (data.num_nodes, data.edge_index.size(1)) == (nodes, 2 * edges)
    shutil.copytree(real_data / "graphs" / name / "raw", tmp_path / name / "raw")
    theirs = Planetoid(str(tmp_path), name)[0]
    same_graph(data, theirs, edge_set)
    for mask in ("train_mask", "val_mask", "test_mask"):
        assert torch.equal(data[mask], theirs[mask])


def test_real_photo_is_what_pyg_reads(real_data, tmp_path, edge_set):
    data = amazon_graph(real_data / "graphs", "Photo")
    assert (data.num_nodes, data.edge_index.size(1)) == (7650, 2 * 119081)
    shutil.copytree(real_data / "graphs" / "Photo" / "raw", tmp_path / "Photo" / "raw")
    same_graph(data, Amazon(str(tmp_path), "Photo")[0], edge_set)


def test_real_coauthor_stays_sparse(real_data):
    data = coauthor_graph(real_data / "graphs", "CS")
    assert (data.num_nodes, data.edge_index.size(1)) == (18333, 2 * 81894)
    assert data.x.layout == torch.sparse_csr
    assert data.x.values().unique().tolist() == [1.0]
    counts = coauthor_graph(real_data / "graphs", "CS", counts=True).x
    assert (float(counts.values().min()), float(counts.values().max())) == (1.0, 105.0)
    assert torch.equal(counts.col_indices(), data.x.col_indices())


@pytest.mark.parametrize(
    ("name", "nodes", "edges", "classes"),
    [
        ("cora", 2485, 5069, 7),
        ("citeseer", 2110, 3668, 6),
        ("photo", 7487, 119043, 8),
        ("computers", 13381, 245778, 10),
    ],
)
def test_real_cpf_sizes(real_data, name, nodes, edges, classes):
    if name == "computers" and not (real_data / "graphs" / "Computers").is_dir():
        pytest.skip("no Computers in the real data")
    data = cpf_graph(real_data / "graphs", name)
    assert (data.num_nodes, data.edge_index.size(1), data.y.unique().numel()) == (nodes, 2 * edges, classes)
