import json

import pytest
import torch
from torch_geometric.data import Data

from structkd import Structure
from structkd.engine import cache_tables
from structkd.engine.cache import TeacherCache, edges_fingerprint, model_fingerprint
from structkd.engine.cache_tables import StaleCacheError
from structkd.errors import CheckpointError, DataError


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
    with pytest.raises(StaleCacheError, match=r"logits\.npy is missing or damaged"):
        cache.load(graph)
    (cache.folder / "logits.npy").unlink()
    with pytest.raises(StaleCacheError, match="missing or damaged"):
        cache.load(graph)
    (cache.folder / "meta.json").write_text("{")
    with pytest.raises(StaleCacheError, match=r"meta\.json is damaged"):
        cache.load(graph)
    (cache.folder / "meta.json").unlink()
    with pytest.raises(StaleCacheError, match="no complete teacher cache"):
        cache.load(graph)


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["logits", "n_id", "codebook", "meta"])
def test_no_flipped_bit_gives_other_outputs(cache, graph, name):
    path = cache.folder / ("meta.json" if name == "meta" else f"{name}.npy")
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 3):
        flip(path, place)
        cache_tables._VERIFIED.clear()  # as another process; the clock of a file system is too coarse for this loop
        try:
            back = cache.load(graph)
            for field in ("logits", "n_id", "codebook"):
                assert torch.equal(back[field], cache.outputs[field]), place
        except CheckpointError:
            refused += 1
        path.write_bytes(whole)
    assert refused > 5
    cache.load(graph)


def parts(count, rows=4, first=0, **changes):
    """Parts of outputs as batches give them; `changes`: field -> what it is in the last one."""
    for number in range(first, count):
        ids = torch.arange(number * rows, (number + 1) * rows)
        fields = dict(x=ids[:, None] * torch.ones(3), wide=torch.ones(rows, 2, 2, dtype=torch.float16), n_id=ids)
        fields |= dict(mask_map=ids % 2 == 0, codebook=torch.full((2, 2), number), edge_kind=torch.arange(rows))
        fields["scale"] = torch.tensor(number + 0.5)
        yield Structure(**fields | (changes if number == count - 1 else {}))


def whole_graph(count, rows=4):
    return Data(n_id=torch.arange(count * rows), edge_index=torch.empty(2, 0, dtype=torch.long))


@pytest.mark.parametrize("shard_bytes", [1, 50, 2**20])
def test_parts_become_one_table(tmp_path, shard_bytes):
    cache = TeacherCache(tmp_path, shard_bytes)
    cache.write(lambda done: parts(5, first=done), whole_graph(5), "me")
    back, given = cache.load(whole_graph(5), "me"), list(parts(5))
    for name in ("x", "wide", "n_id", "mask_map"):
        assert (
            torch.equal(back[name], torch.cat([part[name] for part in given]))
            and back[name].dtype == given[0][name].dtype
        )
    assert torch.equal(back.codebook, given[0].codebook), "what has no row an element is that of the first part"
    assert back.scale.shape == () and back.scale == 0.5
    assert "edge_kind" not in back.provides
    shards = json.loads((tmp_path / "meta.json").read_text())["fields"]["x"]["shards"]
    assert sum(rows for rows, _ in shards) == 20 and (len(shards) > 1) == (shard_bytes < 2**20)
    assert all(rows * 12 <= max(shard_bytes, 12) for rows, _ in shards)
    back.x[0] = -1.0  # mapped copy-on-write
    assert not (cache.load(whole_graph(5), "me").x == -1.0).any()


def test_one_part_keeps_its_edges_and_empty_tables_are_tables(tmp_path):
    cache = TeacherCache(tmp_path)
    (given,) = parts(1)
    cache.save(given, whole_graph(1))
    assert torch.equal(cache.load(whole_graph(1)).edge_kind, given.edge_kind)
    nothing = Data(n_id=torch.empty(0, dtype=torch.long), edge_index=torch.empty(2, 0, dtype=torch.long))
    cache.save(Structure(x=torch.empty(0, 3), n_id=nothing.n_id), nothing)
    assert cache.load(nothing).x.shape == (0, 3)
    with pytest.raises(DataError, match="nothing to compute the outputs"):
        cache.write(lambda done: [], nothing, "me")


def test_it_goes_on_behind_the_last_whole_shard(tmp_path):
    asked = []

    def until(stop):
        def some(done):
            asked.append(done)
            for number, part in enumerate(parts(6, first=done), done):
                if number == stop:
                    raise KeyboardInterrupt
                yield part

        return some

    cache = TeacherCache(tmp_path, shard_bytes=100)
    for stop in (2, 4):
        with pytest.raises(KeyboardInterrupt):
            cache.write(until(stop), whole_graph(6), "me")
        assert not cache.exists
    (tmp_path / "x.npy").open("ab").write(b"half a row")  # as a kill would leave it
    cache.write(until(None), whole_graph(6), "me")
    assert asked == [0, 2, 4]
    assert torch.equal(cache.load(whole_graph(6), "me").x, torch.cat([part.x for part in parts(6)]))
    cache.write(until(None), whole_graph(6), "me")  # it is there
    assert asked == [0, 2, 4]


@pytest.mark.parametrize("change", ["model", "graph", "damage", "journal"])
def test_what_does_not_belong_together_is_not_put_together(tmp_path, change):
    cache, asked = TeacherCache(tmp_path, shard_bytes=1), []
    with pytest.raises(DataError, match=r"rows of float32 .* a later part brings float32"):
        cache.write(lambda done: parts(3, x=torch.ones(4, 5)), whole_graph(3), "me")
    assert (tmp_path / "progress.json").exists()
    if change == "damage":
        flip(tmp_path / "x.npy", -1)
    if change == "journal":
        flip(tmp_path / "progress.json", 60)

    def some(done):
        asked.append(done)
        return parts(3, first=done)

    graph = whole_graph(3)
    if change == "graph":
        graph.edge_index = torch.tensor([[0], [1]])
    cache.write(some, graph, "another" if change == "model" else "me")
    assert asked == [0]
    assert torch.equal(cache.load(graph).x, torch.cat([part.x for part in parts(3)]))


def test_a_later_part_without_a_field_is_an_error(tmp_path):
    def some(done):
        first, second = parts(2)
        del second["wide"]
        return [first, second]

    with pytest.raises(DataError, match="A later part of the outputs lacks wide"):
        TeacherCache(tmp_path).write(some, whole_graph(2), "me")


def test_outputs_of_another_model_are_stale(tmp_path):
    cache = TeacherCache(tmp_path)
    cache.write(lambda done: parts(2, first=done), whole_graph(2), "me")
    with pytest.raises(StaleCacheError, match="another model"):
        cache.load(whole_graph(2), "you")


def test_whoever_has_mapped_the_old_outputs_keeps_them(cache, graph):
    old = cache.load(graph).logits
    expected = old.clone()
    cache.save(Structure(logits=torch.zeros(3, 2), n_id=graph.n_id), graph)
    assert torch.equal(old, expected) and not cache.load(graph).logits.any()


def test_the_fingerprint_of_a_model_sees_every_weight_and_setting():
    state = {"a": torch.zeros(2, 2), "b": torch.tensor(1), "c": torch.ones(2, dtype=torch.bfloat16)}
    known = model_fingerprint(state, {"taps": 1})
    assert known == model_fingerprint({name: value.clone() for name, value in state.items()}, {"taps": 1})
    others = [
        {**state, "a": torch.zeros(4)},
        {**state, "b": torch.tensor(2)},
        {"z" if k == "a" else k: v for k, v in state.items()},
    ]
    for other in others:
        assert model_fingerprint(other, {"taps": 1}) != known
    assert model_fingerprint(state, {"taps": 2}) != known


def test_meta_is_readable(cache):
    meta = json.loads((cache.folder / "meta.json").read_text())
    assert meta["computed_from"]["num_edges"] == 3
    assert meta["fields"]["codebook"]["shape"] == [5, 2]
