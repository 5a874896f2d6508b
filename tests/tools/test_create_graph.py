import numpy as np
import pytest

from structkd.datasets import disk_graph
from structkd.datasets.graphs import synthetic


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(4, 3, dtype=np.float32))
    np.save(tmp_path / "y.npy", np.array([0, 1, -1, 1]))
    np.save(tmp_path / "edges.npy", np.array([[0, 1], [1, 0], [2, 1], [2, 2]]))
    return tmp_path


@pytest.mark.parametrize(("options", "edges"), [([], 4), (["--directed"], 3)])
def test_edges_are_sorted_and_everything_is_checked(command, folder, options, edges):
    done = command("create_data", "graph", folder, "--edges", folder / "edges.npy", *options)
    assert (done.code, done.err) == (0, "")
    assert f"4 nodes, {edges} directed edges, 3 features, 2 classes; no split" in done.out
    assert disk_graph(folder).csr.num_edges == edges
    assert command("create_data", "graph", folder).out == done.out  # without --edges: looks it over again


def test_bad_input_is_one_line(command, folder):
    np.save(folder / "edges.npy", np.array([[0, 1], [1, 4]]))
    done = command("create_data", "graph", folder, "--edges", folder / "edges.npy")
    assert done.code == 2
    assert "edges.npy names nodes 0 to 4; expected 0 to 3" in done.err
    assert command("create_data", "graph", folder).code == 2  # there is no meta.json
    done = command("create_data", "graph", folder, "--synthetic", "product")
    assert (done.code, "products" in done.err) == (2, True)


def test_synthetic(command, tmp_path, monkeypatch):
    small = dict(num_nodes=50, num_edges=90, num_features=3, num_classes=2)
    monkeypatch.setitem(synthetic.SIZES, "arxiv", small)
    done = command("create_data", "graph", tmp_path / "g", "--synthetic", "arxiv")
    assert done.code == 0
    assert "50 nodes" in done.out
    assert "train 4, val 1, test 45" in done.out
