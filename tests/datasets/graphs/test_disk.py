import json

import numpy as np
import pytest
import torch

from structkd.datasets import (
    DiskNodeData,
    EdgeBatches,
    FullGraph,
    NodeBatches,
    NodeData,
    Split,
    disk_graph,
    import_edges,
    synthetic_disk_graph,
    write_graph,
)
from structkd.datasets.graphs.external_sort import pieces_of
from structkd.errors import ConfigError, DataError
from structkd.ops import csr_of

SPLIT = Split(torch.arange(20), torch.arange(20, 30), torch.arange(30, 60))


@pytest.fixture
def folder(graph, tmp_path):
    pieces = pieces_of(graph.edge_index.numpy(), 17)
    return write_graph(tmp_path / "g", graph.x.split(7), pieces, graph.y, 3, SPLIT, memory_keys=50)


def test_opens_what_was_written(graph, folder):
    disk = disk_graph(folder)
    csr = csr_of(graph.edge_index, 60)
    assert torch.equal(disk.x, graph.x)
    assert torch.equal(disk.y, graph.y)
    assert torch.equal(disk.csr.rowptr, csr.rowptr)
    assert torch.equal(disk.csr.col.long(), csr.col)
    assert torch.equal(disk.split.val, SPLIT.val)
    assert (disk.num_nodes, disk.num_classes) == (60, 3)
    assert disk.rows(torch.tensor([3, 1])).equal(graph.x[[3, 1]])


def test_an_edge_list_of_ones_own(graph, folder):
    expected = disk_graph(folder).csr
    (folder / "meta.json").unlink()
    np.save(folder / "edge_index.npy", graph.edge_index.flip(1).t().int().numpy())
    assert import_edges(folder, folder / "edge_index.npy") == 300
    found = disk_graph(folder)
    assert torch.equal(found.csr.col, expected.col)
    assert found.num_classes == 3


@pytest.mark.parametrize("options", [{}, dict(fanouts=[-1]), dict(fanouts=[2, 3]), dict(seeds="train", fanouts=[4])])
def test_batches_are_those_of_the_graph_in_memory(graph, folder, same_batches, options):
    held, disk = NodeData(graph, SPLIT), DiskNodeData(disk_graph(folder), SPLIT)
    for nodes in (held, disk):
        assert str(60) in repr(nodes)
    same_batches(list(NodeBatches(held, 16, seed=2, **options)), list(NodeBatches(disk, 16, seed=2, **options)))


def test_half_precision_features(graph, folder):
    write_graph(folder, [graph.x], [graph.edge_index.numpy()], graph.y, 3, SPLIT, dtype="float16")
    nodes = DiskNodeData(disk_graph(folder), SPLIT)
    for batch in NodeBatches(nodes, 16):
        assert batch.x.dtype == torch.float32
        assert torch.equal(batch.x, graph.x.half().float()[batch.n_id])


def test_what_needs_all_edges_is_refused(folder):
    nodes = DiskNodeData(disk_graph(folder), SPLIT)
    for loader in (lambda: FullGraph(nodes), lambda: EdgeBatches(nodes, 16)):
        with pytest.raises(ConfigError, match="NodeBatches"):
            loader()
    with pytest.raises(ConfigError, match="transductive"):
        DiskNodeData(disk_graph(folder), SPLIT.hold_out(0.5, 0))


def replaced(name, change):
    def damage(folder):
        array = change(np.load(folder / f"{name}.npy"))
        np.save(folder / f"{name}.npy", array)

    return damage


def put(array, place, value):
    array = array.copy()
    array[place] = value
    return array


def first_pair(folder):
    """The place of two entries of one row."""
    indptr = np.load(folder / "indptr.npy")
    return int(indptr[np.flatnonzero(np.diff(indptr) > 1)[0]])


def swap(folder):
    at = first_pair(folder)
    replaced("indices", lambda a: put(a, slice(at, at + 2), a[at : at + 2][::-1]))(folder)


def loop(folder):
    indptr = np.load(folder / "indptr.npy")
    node = int(np.flatnonzero(np.diff(indptr) == 1)[0])
    replaced("indices", lambda a: put(a, indptr[node], node))(folder)


def cut(folder):
    path = folder / "x.npy"
    path.write_bytes(path.read_bytes()[:-4])


DAMAGES = {
    "no features": (lambda folder: (folder / "x.npy").unlink(), "x.npy", "create_data"),
    "no meta": (lambda folder: (folder / "meta.json").unlink(), "meta.json", "There is no file"),
    "broken meta": (lambda folder: (folder / "meta.json").write_text("{"), "meta.json", "cannot be read"),
    "other meta": (lambda folder: (folder / "meta.json").write_text("[]"), "meta.json", "structkd-graph-1"),
    "no classes": (
        lambda folder: (folder / "meta.json").write_text(json.dumps({"format": "structkd-graph-1"})),
        "meta.json",
        "num_classes",
    ),
    "double features": (replaced("x", lambda a: a.astype(np.float64)), "x.npy", "float64"),
    "cut short": (cut, "x.npy", "cut short"),
    "nan": (replaced("x", lambda a: put(a, (7, 1), np.nan)), "x.npy", "row 7"),
    "too few labels": (replaced("y", lambda a: a[1:]), "y.npy", "[60]"),
    "label too large": (replaced("y", lambda a: put(a, 0, 3)), "y.npy", "-1 (unknown) to 2"),
    "short indptr": (replaced("indptr", lambda a: a[:-1]), "indptr.npy", "[61]"),
    "narrow indptr": (replaced("indptr", lambda a: a.astype(np.int32)), "indptr.npy", "int64"),
    "falling indptr": (replaced("indptr", lambda a: put(a, 5, 299)), "indptr.npy", "ascending"),
    "indptr beyond": (replaced("indptr", lambda a: put(a, 60, 299)), "indptr.npy", "0 to 300"),
    "source too large": (replaced("indices", lambda a: put(a, 299, 60)), "indices.npy", "0 to 59"),
    "negative source": (replaced("indices", lambda a: put(a, 0, -1)), "indices.npy", "0 to 59"),
    "unsorted": (swap, "indices.npy", "not ascending"),
    "loop": (loop, "indices.npy", "no loops"),
    "one part missing": (lambda folder: (folder / "val.npy").unlink(), "val.npy", "has train, test.npy"),
    "id beyond": (replaced("test", lambda a: put(a, 0, 60)), "test.npy", "0 to 59"),
    "id twice": (replaced("test", lambda a: put(a, 0, 0)), "test.npy", "twice"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_named(folder, one_paragraph, kind):
    damage, name, words = DAMAGES[kind]
    damage(folder)
    with pytest.raises(DataError) as error:
        disk_graph(folder)
    one_paragraph(error, folder, name, words)


def test_a_folder_without_split(folder):
    for name in ("train", "val", "test"):
        (folder / f"{name}.npy").unlink()
    assert disk_graph(folder).split is None


def test_another_graph_has_another_fingerprint(graph, folder):
    first = disk_graph(folder).fingerprint()
    assert first == disk_graph(folder, check=False).fingerprint()
    replaced("x", lambda a: put(a, (0, 0), 9.0))(folder)
    assert disk_graph(folder).fingerprint() != first


def test_synthetic_graph_is_written_once(tmp_path):
    options = dict(num_nodes=300, num_edges=900, num_features=4, num_classes=3, train=0.1, val=0.05)
    disk = synthetic_disk_graph(tmp_path, **options, check=True)
    assert disk.x.shape == (300, 4)
    assert 0.9 * 1800 < disk.csr.num_edges <= 1800
    assert [part.numel() for part in (disk.split.train, disk.split.val, disk.split.test)] == [30, 15, 255]
    written = (disk.folder / "x.npy").stat().st_mtime_ns
    assert synthetic_disk_graph(tmp_path, **options).fingerprint() == disk.fingerprint()
    assert (disk.folder / "x.npy").stat().st_mtime_ns == written
    assert synthetic_disk_graph(tmp_path, **options, seed=1).fingerprint() != disk.fingerprint()
    block = disk.csr.block(0, 300)
    within = (disk.y[block.row] == disk.y[block.col]).double().mean()
    assert within > 0.6  # homophily 0.7 and a third of the rest
    with pytest.raises(ConfigError, match="synthetic_disk_graph"):
        synthetic_disk_graph(tmp_path, **(options | dict(train=1.0)))
    with pytest.raises(ConfigError, match="products"):
        synthetic_disk_graph(tmp_path, "product")
