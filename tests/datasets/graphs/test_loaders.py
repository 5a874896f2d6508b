"""Batches: their fields, what they may hold, and that every sum over them estimates what it says."""

from itertools import combinations, product

import pytest
import torch
from torch.utils.data import DataLoader

from structkd.datasets import EdgeBatches, FullGraph, NodeBatches, synthetic_graph
from structkd.datasets.epochs import Part
from structkd.datasets.graphs import subgraphs
from structkd.errors import ConfigError, DataError
from structkd.ops.sampling import Neighbors


def test_fields_agree_with_the_observed_graph(nodes, loader_kind):
    name, loader, observed = loader_kind.name, loader_kind.make(nodes), nodes.observed
    assert isinstance(loader, DataLoader)
    batches = list(loader)
    assert len(batches) == len(loader)
    known = {tuple(pair) for pair in nodes.graph.edge_index.t().tolist()}
    row = torch.full((60,), -1)
    row[observed.n_id] = torch.arange(observed.n_id.numel())
    for batch in batches:
        rows = row[batch.n_id]
        assert int(rows.min()) >= 0 and rows.unique().numel() == rows.numel()
        assert torch.equal(batch.x, observed.x[rows])
        assert torch.equal(batch.y[batch.mask], observed.y[rows][batch.mask])
        assert bool((batch.y[~batch.mask] == -1).all())
        assert batch.share == 1.0
        if name != "full":
            assert bool((batch.mask.int().diff() <= 0).all())  # seeds in front
        if batch.edge_index is not None:
            pairs = [tuple(pair) for pair in batch.n_id[batch.edge_index].t().tolist()]
            assert set(pairs) <= known
        assert ("edge_scale" in batch) == (name not in ("full", "nodes"))
        assert (batch.edge_index is None) == (name == "nodes")


def test_full_graph_is_the_same_object(transductive):
    loader = FullGraph(transductive)
    assert len(loader) == 1
    assert next(iter(loader)) is next(iter(loader))
    batch = next(iter(loader))
    assert batch.edge_index is transductive.observed.edge_index
    assert batch.label_scale == 1 / 12
    assert int(next(iter(FullGraph(transductive, seeds="train"))).mask.sum()) == 12
    assert int(next(iter(FullGraph(transductive, seeds="unlabelled"))).mask.sum()) == 48


@pytest.mark.parametrize(("seeds", "count"), [("all", 48), ("train", 12), ("unlabelled", 36)])
def test_an_epoch_meets_every_seed_once(inductive, seeds, count):
    for loader in (NodeBatches(inductive, 10, seeds=seeds), EdgeBatches(inductive, 40, seeds=seeds)):
        met = torch.cat([batch.n_id[batch.mask] for batch in loader])
        assert met.numel() == met.unique().numel() == count


def test_an_epoch_meets_every_edge_once(inductive):
    observed = inductive.observed
    for loader in (EdgeBatches(inductive, 40), NodeBatches(inductive, 10, fanouts=[-1])):
        met = torch.cat([batch.n_id[batch.edge_index] for batch in loader], 1)
        expected = observed.n_id[observed.edge_index]
        assert torch.equal(met.unique(dim=1), expected.unique(dim=1))
        assert met.size(1) == expected.size(1)


def test_drop_last_is_the_published_truncation(transductive):
    def sizes(batch_size):
        loader = NodeBatches(transductive, batch_size, drop_last=True)
        return [int(batch.mask.sum()) for batch in loader]

    assert sizes(25) == [25, 25]
    assert sizes(60) == [60]
    assert sizes(100) == [60]
    assert [int(batch.mask.sum()) for batch in NodeBatches(transductive, 25)] == [20, 20, 20]


# --- what the scales promise -------------------------------------------------------------------------------------


@pytest.fixture
def small(under_split):
    """Eight nodes, so that every batch can be listed."""
    return under_split(synthetic_graph(num_nodes=8, num_edges=6, num_features=2, num_classes=2, seed=2))


def batch_of(loader, *picks):
    """The batch of these positions in the loader's pools."""
    picks = [torch.tensor(pick) for pick in picks]
    return loader.dataset[Part(tuple(picks), tuple(len(pick) for pick in picks), 1.0, (0, 0, 0, 0))]


def edge_values(nodes):
    """A number for each directed edge, and the sum over a batch's edges of number times edge_scale."""
    observed = nodes.observed
    table = torch.zeros(8, 8, dtype=torch.float64)
    table[observed.edge_index[0], observed.edge_index[1]] = torch.rand(
        observed.edge_index.size(1), dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )

    def estimate(batch):
        source, target = batch.n_id[batch.edge_index]
        return (table[source, target] * batch.edge_scale.double()).sum()

    return table, estimate


@pytest.mark.parametrize("seeds", ["all", "unlabelled"])
def test_label_scale_is_unbiased_over_every_batch(small, seeds):
    nodes = small
    loader, value = NodeBatches(nodes, 3, seeds=seeds), torch.rand(8, dtype=torch.float64)
    size = loader.dataset.rows.numel()
    estimates = []
    for pick in combinations(range(size), 3):
        batch = batch_of(loader, pick)
        labels = batch.y >= 0
        estimates.append((value[batch.n_id[labels]] * batch.label_scale).sum())
    truth = value[nodes.split.train].mean() if seeds == "all" else torch.tensor(0.0, dtype=torch.float64)
    torch.testing.assert_close(torch.stack(estimates).mean(), truth)


@pytest.mark.parametrize("fanouts", [[-1], [1], [2], [1, 1], [-1, 2]])
@pytest.mark.parametrize("seeds", ["all", "unlabelled"])
def test_edge_scale_of_node_batches_is_unbiased_over_every_draw(small, fanouts, seeds, monkeypatch):
    """Lists every set of seeds and, for each, every choice of in-edges of the first hop."""
    nodes = small
    table, estimate = edge_values(nodes)
    loader = NodeBatches(nodes, 2, seeds=seeds, fanouts=fanouts)
    batches = loader.dataset

    def choices(csr, frontier, fanout):
        """All equally likely results of sampling: one tuple of entries a node of the frontier."""
        options = []
        for node in frontier.tolist():
            entries = range(int(csr.rowptr[node]), int(csr.rowptr[node + 1]))
            options.append(list(combinations(entries, len(entries) if fanout < 0 else min(fanout, len(entries)))))
        return list(product(*options))

    queue = []

    def sample(csr, frontier, fanout, generator=None):
        chosen = queue.pop(0) if queue else choices(csr, frontier, fanout)[0]
        entries = torch.tensor([entry for group in chosen for entry in group], dtype=torch.long)
        dst = torch.tensor([i for i, group in enumerate(chosen) for _ in group], dtype=torch.long)
        return Neighbors(csr.col[entries], dst, csr.eid[entries])

    monkeypatch.setattr(subgraphs, "sample_neighbors", sample)
    means = []
    for pick in combinations(range(batches.rows.numel()), 2):
        draws = []
        for chosen in choices(batches.csr, batches.rows[list(pick)], fanouts[0]):
            queue.append(chosen)
            draws.append(estimate(batch_of(loader, pick)))
        means.append(torch.stack(draws).mean())
    ends = nodes.observed.edge_index[1]
    in_reach = torch.isin(ends, batches.rows)
    source, target = nodes.observed.edge_index[:, in_reach]
    torch.testing.assert_close(torch.stack(means).mean(), table[source, target].mean(), rtol=1e-6, atol=1e-8)


def test_edge_scale_of_edge_batches_is_unbiased_over_every_batch(small):
    nodes = small
    table, estimate = edge_values(nodes)
    loader = EdgeBatches(nodes, 3)
    edges = nodes.observed.edge_index.size(1)
    estimates = [estimate(batch_of(loader, [0, 5], pick)) for pick in combinations(range(edges), 3)]
    source, target = nodes.observed.edge_index
    torch.testing.assert_close(torch.stack(estimates).mean(), table[source, target].mean(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("loader_kind", ["nodes", "nodes and edges", "edges"], indirect=True)
def test_processes_together_compute_what_one_computes(inductive, loader_kind, world_size):
    """The mean over processes of `share` times any of the sums, and of a mean over seeds, is that of one process."""
    value = torch.rand(60, dtype=torch.float64)

    def sums(batch):
        ids = batch.n_id
        found = [value[ids[batch.mask]].mean(), (value[ids[batch.y >= 0]] * batch.label_scale).sum()]
        if "edge_scale" in batch:
            source, target = ids[batch.edge_index]
            found.append(((value[source] - value[target]).square() * batch.edge_scale.double()).sum())
        return batch.share * torch.stack(found)

    whole = [sums(batch) for batch in loader_kind.make(inductive, seed=4)]
    ranks = [
        [sums(batch) for batch in loader_kind.make(inductive, seed=4, rank=rank, world_size=world_size)]
        for rank in range(world_size)
    ]
    assert {len(rank) for rank in ranks} == {len(whole)}
    for number, expected in enumerate(whole):
        mean = torch.stack([rank[number] for rank in ranks]).mean(0)
        torch.testing.assert_close(mean, expected, rtol=1e-6, atol=1e-8)


# --- reproducible -------------------------------------------------------------------------------------------------


def test_a_resumed_run_meets_the_same_batches(nodes, loader_kind, same_batches):
    loader, state = loader_kind.make(nodes), torch.get_rng_state()
    epochs = [list(loader) for _ in range(3)]
    assert torch.equal(torch.get_rng_state(), state)  # dropout of a resumed run depends on it
    resumed = loader_kind.make(nodes)
    resumed.set_epoch(2)
    same_batches(list(resumed), epochs[2])
    if loader_kind.name != "full":
        assert not torch.equal(epochs[0][0].n_id, epochs[1][0].n_id)
        other = list(loader_kind.make(nodes, seed=1))
        assert not torch.equal(epochs[0][0].n_id, other[0].n_id)


def test_workers_change_nothing(transductive, same_batches):
    alone, helped = (list(NodeBatches(transductive, 16, fanouts=[2], num_workers=n)) for n in (0, 1))
    same_batches(alone, helped)


def test_sparse_features_stay_sparse(transductive, loader_kind):
    dense = transductive.graph.x
    transductive.graph.x = dense.to_sparse_csr()
    for batch in loader_kind.make(transductive):
        assert batch.x.layout == torch.sparse_csr
        assert torch.equal(batch.x.to_dense(), dense[batch.n_id])


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda nodes: NodeBatches(nodes, 0), ConfigError, "batch_size=0"),
        (lambda nodes: EdgeBatches(nodes, 0), ConfigError, "batch_size=0"),
        (lambda nodes: NodeBatches(nodes, 8, seeds="test"), ConfigError, "train"),
        (lambda nodes: NodeBatches(nodes, 8, fanouts=[]), ConfigError, "each hop"),
        (lambda nodes: NodeBatches(nodes, 2, world_size=3), ConfigError, "larger batch_size"),
    ],
)
def test_bad_arguments_are_named(transductive, make, kind, words):
    with pytest.raises(kind, match=words):
        make(transductive)


def test_a_graph_without_edges(under_split):
    nodes = under_split(synthetic_graph(num_nodes=10, num_edges=0, num_features=2, num_classes=2))
    for batch in NodeBatches(nodes, 4, fanouts=[-1]):
        assert batch.edge_index.shape == (2, 0) and batch.edge_scale.shape == (0,)
    with pytest.raises(DataError, match="has none"):
        EdgeBatches(nodes, 4)
