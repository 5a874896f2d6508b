import json

import pytest
import torch
from torch_geometric.data import Data

from structkd import Structure
from structkd.engine.cache import TeacherCache, edges_fingerprint
from structkd.errors import CheckpointError


@pytest.fixture
def graph():
    return Data(n_id=torch.tensor([4, 7, 9]), edge_index=torch.tensor([[0, 1, 2], [1, 0, 0]]))


@pytest.fixture
def cache(tmp_path, graph):
    outputs = Structure(
        logits=torch.randn(3, 2), n_id=graph.n_id, codebook=torch.randn(5, 2), edge_index=graph.edge_index
    )
    cache = TeacherCache(tmp_path / "outputs")
    assert not cache.exists
    cache.save(outputs, graph)
    cache.outputs = outputs
    return cache


def test_round_trip(cache, graph):
    back = cache.load(graph)
    for name in ("logits", "codebook", "n_id"):
        assert torch.equal(back[name], cache.outputs[name])
    assert torch.equal(back.edge_index, graph.edge_index)


def test_other_edges_or_nodes_are_a_leak(cache, graph):
    moved = Data(n_id=graph.n_id, edge_index=torch.tensor([[0, 1, 2], [1, 0, 1]]))
    with pytest.raises(CheckpointError, match="leak held-out data"):
        cache.load(moved)
    more = Data(n_id=torch.tensor([4, 7, 9, 11]), edge_index=graph.edge_index)
    with pytest.raises(CheckpointError, match=r"from 3 nodes .* not the 4 nodes"):
        cache.load(more)


def test_edge_order_does_not_matter_but_direction_and_number_do(graph):
    edges, ids = graph.edge_index, graph.n_id
    original = edges_fingerprint(edges, ids)
    assert edges_fingerprint(edges[:, [2, 0, 1]], ids) == original
    assert edges_fingerprint(edges.flip(0), ids) != original
    assert edges_fingerprint(torch.cat([edges, edges[:, :1]], 1), ids) != original
    assert edges_fingerprint(edges[:, :0], ids) == "0" * 16


def test_damage_is_named(cache, graph):
    (cache.folder / "logits.npy").write_bytes((cache.folder / "logits.npy").read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"logits\.npy"):
        cache.load(graph)
    (cache.folder / "logits.npy").unlink()
    with pytest.raises(CheckpointError, match="missing or damaged"):
        cache.load(graph)
    (cache.folder / "meta.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"meta\.json is damaged"):
        cache.load(graph)
    (cache.folder / "meta.json").unlink()
    with pytest.raises(CheckpointError, match="no complete teacher cache"):
        cache.load(graph)


def test_meta_is_readable(cache):
    meta = json.loads((cache.folder / "meta.json").read_text())
    assert meta["computed_from"]["num_edges"] == 3
    assert meta["fields"]["codebook"]["shape"] == [5, 2]
