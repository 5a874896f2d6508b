import pytest
import torch
from torch_geometric.data import Data

from structkd.datasets import LinkBatches, sample_negatives, split_links, synthetic_graph
from structkd.errors import ConfigError, DataError


def pairs_of(pairs):
    assert bool((pairs[0] < pairs[1]).all())
    found = [tuple(pair) for pair in pairs.t().tolist()]
    assert len(found) == len(set(found))
    return set(found)


@pytest.fixture
def all_pairs(graph):
    return {(u, v) for u, v in graph.edge_index.t().tolist() if u < v}


def test_transductive_split_parts_the_edges(graph, all_pairs, edge_set):
    links = split_links(graph)
    train, val, test = (pairs_of(pairs) for pairs in (links.train, links.val, links.test["all"]))
    assert (len(train), len(val), len(test)) == (128, 7, 15)
    assert train | val | test == all_pairs
    assert not (train & val or train & test or val & test)
    assert {(u, v) for u, v in edge_set(links.graph.edge_index) if u < v} == train
    assert links.observed is links.graph
    assert list(links.test) == ["all"]
    for negatives, positives in ((links.val_negatives, links.val), (links.test_negatives, links.test["all"])):
        assert not pairs_of(negatives) & all_pairs
        assert negatives.shape == positives.shape


def test_production_split_hides_new_nodes(edge_set):
    graph = synthetic_graph(num_nodes=60, num_edges=350, num_features=6, num_classes=3)
    all_pairs = {(u, v) for u, v in graph.edge_index.t().tolist() if u < v}
    links = split_links(graph, test=0.2, new_nodes=0.3)
    n_id = links.observed.n_id
    assert n_id.numel() == 42
    assert torch.equal(links.observed.x, graph.x[n_id])
    old = set(n_id.tolist())
    kinds = {"old_old": 2, "old_new": 1, "new_new": 0}
    groups = {name: pairs_of(pairs) for name, pairs in links.test.items()}
    for name, count in kinds.items():
        assert groups[name] and all((u in old) + (v in old) == count for u, v in groups[name])
    assert groups["all"] == groups["old_old"] | groups["old_new"] | groups["new_new"] <= all_pairs
    train, val = (pairs_of(n_id[pairs]) for pairs in (links.train, links.val))
    visible = {(u, v) for u, v in edge_set(links.graph.edge_index) if u < v}
    assert {(u, v) for u, v in edge_set(n_id[links.observed.edge_index]) if u < v} == train < visible
    assert not visible & (groups["all"] | val) and not train & val
    assert visible | groups["all"] | val == all_pairs
    assert any(u in old and v in old for u, v in visible - train)  # the old-old edges that appear later
    assert not pairs_of(links.test_negatives) & all_pairs
    assert not pairs_of(n_id[links.val_negatives]) & all_pairs


def test_splits_are_seeded_and_leave_the_global_generator_alone(graph):
    state = torch.get_rng_state()
    one, same, other = split_links(graph), split_links(graph), split_links(graph, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.train, same.train) and torch.equal(one.test_negatives, same.test_negatives)
    assert not torch.equal(one.train, other.train)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        (dict(val=0.0), ConfigError, "val=0.0"),
        (dict(val=0.5, test=0.5), ConfigError, "train on"),
        (dict(val=0.4, test=0.5, new_nodes=0.1), ConfigError, "train on"),
        (dict(new_nodes=1.0), ConfigError, "new_nodes=1.0"),
        (dict(val=0.001), DataError, "no val edges"),
    ],
)
def test_bad_shares(graph, options, kind, words):
    with pytest.raises(kind, match=words):
        split_links(graph, **options)


def test_negatives_are_all_free_pairs_when_all_are_asked_for(generator):
    edges = torch.tensor([[0, 1, 2, 2, 4], [1, 0, 2, 3, 0]])
    free = {(u, v) for u in range(5) for v in range(u + 1, 5)} - {(0, 1), (2, 3), (0, 4)}
    assert pairs_of(sample_negatives(edges, 5, len(free), generator)) == free
    assert sample_negatives(edges, 5, 0, generator).shape == (2, 0)
    with pytest.raises(DataError, match="7 pairs of 5 nodes have no edge"):
        sample_negatives(edges, 5, 8, generator)
    with pytest.raises(DataError, match="0 pairs of 1 nodes"):
        sample_negatives(edges[:, :0], 1, 1, generator)


def test_negatives_are_uniform(generator):
    edges = torch.tensor([[0, 1], [1, 0]])
    counts = torch.zeros(5, 5)
    for _ in range(3000):
        u, v = sample_negatives(edges, 5, 2, generator)
        counts[u, v] += 1
    drawn = counts[counts > 0]
    assert drawn.numel() == 9
    expected = 6000 / 9
    assert float((drawn - expected).square().sum() / expected) < 30  # chi-square with 8 degrees of freedom


def test_link_batches_pass_once_over_the_positives(graph, all_pairs):
    links = split_links(graph)
    loader, state = LinkBatches(links, batch_size=50), torch.get_rng_state()
    first, second = list(loader), list(loader)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(loader) == 3
    train, met = pairs_of(links.train), []
    for batch in first:
        count = int((batch.y == 1).sum())
        assert batch.y.tolist() == [1.0] * count + [0.0] * count
        assert batch.label_scale == pytest.approx(1 / (2 * count))
        met += batch.pairs[:, :count].t().tolist()
        assert not pairs_of(batch.pairs[:, count:]) & train
        assert batch.x is links.observed.x and batch.edge_index is links.observed.edge_index
    assert sorted(map(tuple, met)) == sorted(train)
    assert not torch.equal(first[0].pairs, second[0].pairs)
    resumed = LinkBatches(links, batch_size=50)
    resumed.set_epoch(1)
    assert all(torch.equal(a.pairs, b.pairs) for a, b in zip(resumed, second, strict=True))


def test_link_batches_with_a_context(graph):
    links = split_links(graph, new_nodes=0.2)

    def context(csr, anchors, generator):
        assert csr.shape == (48, 48)
        candidates = torch.randint(48, (anchors.numel(), 3), generator=generator)
        anchor = torch.arange(anchors.numel()).repeat_interleave(3)
        return torch.stack([anchors[anchor], candidates.flatten()]), anchor

    met = []
    for batch in LinkBatches(links, batch_size=40, context=context):
        assert batch.pairs.size(1) == batch.y.numel() == batch.mask.numel() == batch.batch.numel()
        assert bool((batch.y[batch.mask] == -1).all()) and bool((batch.y[~batch.mask] >= 0).all())
        assert bool((batch.batch[~batch.mask] == -1).all())
        assert torch.bincount(batch.batch[batch.mask]).unique().tolist() == [3]
        met.append(batch.pairs[0, batch.mask].unique())
    assert torch.equal(torch.cat(met).sort().values, torch.arange(48))


def test_link_batches_over_ranks_share_the_positives(graph):
    links = split_links(graph)
    whole = list(LinkBatches(links, 50, seed=2))
    ranks = [list(LinkBatches(links, 50, seed=2, rank=rank, world_size=2)) for rank in range(2)]
    for number, batch in enumerate(whole):
        positives = [rank[number].pairs[:, rank[number].y == 1] for rank in ranks]
        assert torch.equal(torch.cat(positives, 1), batch.pairs[:, batch.y == 1])
        assert sum(rank[number].share for rank in ranks) == pytest.approx(2)
    with pytest.raises(ConfigError, match="batch_size=0"):
        LinkBatches(links, 0)


def test_large_graphs_split_in_linear_memory():
    data = synthetic_graph(num_nodes=20000, num_edges=60000, num_features=1, num_classes=2)
    links = split_links(Data(x=data.x, edge_index=data.edge_index))
    assert links.train.size(1) == 51000


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_together_hold_the_batch_of_one(world_size):
    """Uneven parts of pairs and anchors; every loss, averaged over the processes, is that of the whole batch."""
    data = split_links(synthetic_graph(num_nodes=61, num_edges=201, num_features=3, num_classes=2))

    def context(csr, anchors, generator):
        other = torch.randint(61, (anchors.numel(),), generator=generator)
        return torch.stack([anchors, other]), torch.arange(anchors.numel())

    def batches(rank, world_size):
        return LinkBatches(data, 60, context=context, rank=rank, world_size=world_size, seed=4)

    for whole, *parts in zip(batches(0, 1), *(batches(rank, world_size) for rank in range(world_size)), strict=True):
        for label in (1.0, 0.0, -1.0):
            together = torch.cat([part.pairs[:, part.y == label] for part in parts], 1)
            assert torch.equal(together, whole.pairs[:, whole.y == label])
        weight = sum((part.y >= 0).sum() * part.label_scale * part.share for part in parts) / world_size
        assert float(weight) == pytest.approx(float((whole.y >= 0).sum()) * whole.label_scale)
        anchors = [int(part.batch.max()) + 1 for part in parts]
        assert [part.share for part in parts] == [pytest.approx(n * world_size / sum(anchors)) for n in anchors]
        for part in parts:
            assert torch.equal(part.batch[part.mask].unique(), torch.arange(int(part.batch.max()) + 1))
