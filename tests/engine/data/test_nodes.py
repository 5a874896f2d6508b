"""Node classification in the engine: protocols, what each batch holds, and the figures of both settings by hand."""

import pytest
import torch

from structkd import Structure
from structkd.adapters import GraphAdapter
from structkd.datasets import synthetic_graph
from structkd.engine.data import NodeTask
from structkd.errors import ConfigError
from structkd.models import GCN, MLP

NODES = 60


def graph(sparse=False, targets=False):
    data = synthetic_graph(num_nodes=NODES, num_edges=150, num_features=6, num_classes=3, seed=1)
    for name, start in (("train", 0), ("val", 20), ("test", 40)):
        data[f"{name}_mask"] = (torch.arange(NODES) >= start) & (torch.arange(NODES) < start + 10)
    if sparse:
        data.x = data.x.relu().to_sparse_csr()
    if targets:
        data.y = torch.nn.functional.one_hot(data.y, 5).float()
    return data


def task(protocol=None, seed=0, dataset=graph, **options):
    data = NodeTask(dict(type=dataset), protocol or dict(name="random"), **options)
    data.setup(seed)
    return data


@pytest.mark.parametrize(
    ("protocol", "sizes"),
    [
        (dict(name="random", train=0.5, val=0.25), (30, 15, 15)),
        (dict(name="cpf", train_per_class=4, val_per_class=5), (12, 15, 33)),
        (dict(name="planetoid_random", train_per_class=3, num_val=10, num_test=20), (9, 10, 20)),
        (dict(name="public"), (10, 10, 10)),
    ],
    ids=lambda value: value.get("name") if isinstance(value, dict) else "",
)
def test_protocols(protocol, sizes):
    data = task(protocol)
    split = data.nodes.split
    assert (split.train.numel(), split.val.numel(), split.test.numel()) == sizes
    assert data.protocol == f"{protocol['name']}, transductive"
    assert (data.primary_metric, data.selection["metric"]) == ("test/accuracy", "val/accuracy")
    inductive = task(protocol | dict(inductive=True, ind_rate=0.4))
    assert inductive.nodes.split.ind.numel() == int(0.4 * sizes[2])
    assert inductive.protocol == f"{protocol['name']}, inductive"
    assert inductive.primary_metric == "prod/accuracy"


def test_every_seed_draws_its_own_split():
    data = task(seed=0)
    first = data.nodes.split
    data.setup(1)
    assert not torch.equal(data.nodes.split.train, first.train)
    data.setup(0)
    assert torch.equal(data.nodes.split.train, first.train)


def evaluate(data, right):
    """The metrics of a model that is right exactly on the nodes `right` (global ids)."""
    (metric,) = data.metrics()
    for batch in data.eval_loader("test"):
        labels = data.graph.y[batch.n_id]
        predicted = torch.where(torch.isin(batch.n_id, right), labels, (labels + 1) % 3)
        logits = torch.nn.functional.one_hot(predicted, 3).float()
        metric.process(batch, data.objective().predict(Structure(logits=logits), batch))
    return metric.evaluate(1)


def test_transductive_figures():
    data = task()
    split = data.nodes.split
    metrics = evaluate(data, torch.cat([split.test[:3], split.val[:1], split.train]))
    assert metrics == {"val/accuracy": 1 / split.val.numel(), "test/accuracy": 3 / split.test.numel()}


def test_inductive_figures_weigh_by_the_share_of_held_out_nodes():
    data = task(dict(name="public", inductive=True, ind_rate=0.3))
    split = data.nodes.split
    assert (split.test.numel(), split.ind.numel()) == (7, 3)
    metrics = evaluate(data, torch.cat([split.test[:5], split.ind[:1]]))
    assert metrics["test/accuracy"] == pytest.approx(5 / 7)
    assert metrics["ind/accuracy"] == pytest.approx(1 / 3)
    assert metrics["prod/accuracy"] == pytest.approx(0.7 * 5 / 7 + 0.3 * 1 / 3)
    assert metrics["prod/accuracy"] == pytest.approx(6 / 10)  # all held-out and observed test nodes alike
    assert metrics["val/accuracy"] == 0


def test_held_out_nodes_are_met_on_the_whole_graph_and_only_there():
    data = task(dict(name="random", inductive=True))
    split, whole = data.nodes.split, data.graph
    observed, everything = data.eval_loader("test")
    assert set(observed.splits) == {"val", "test"} and set(everything.splits) == {"ind"}
    assert torch.equal(everything.edge_index, whole.edge_index)
    assert torch.equal(everything.n_id[everything.splits["ind"]], split.ind)
    assert torch.equal(everything.y[everything.splits["ind"]], whole.y[split.ind])
    assert int((everything.y >= 0).sum()) == split.ind.numel()
    assert torch.equal(observed.n_id[observed.splits["test"]], split.test)
    (validation,) = data.eval_loader("val")
    parts = [observed, validation, *data.observed_batches(), *data.train_loader(None, "", 0, 0, 1), data.example()]
    for batch in parts:
        assert not torch.isin(batch.n_id, split.ind).any()
        assert batch.edge_index.size(1) == data.observed_graph.edge_index.size(1) < whole.edge_index.size(1)


def test_facts_that_models_take_from_the_data():
    assert task().facts == {"in_channels": 6, "out_channels": 3}
    assert task(dataset=lambda: graph(sparse=True)).facts == {"in_channels": 6, "out_channels": 3}
    assert task(dataset=lambda: graph(targets=True)).facts == {"in_channels": 6, "out_channels": 5}


def test_loaders_are_built_from_their_config():
    data = task()
    batches = list(data.train_loader(dict(type="NodeBatches", batch_size=25, fanouts=[-1]), "here", 3, 0, 1))
    assert [int(batch.mask.sum()) for batch in batches] == [20, 20, 20]
    (whole,) = data.train_loader(None, "here", 3, 0, 1)
    assert whole.n_id.numel() == NODES
    with pytest.raises(ConfigError, match=r"here: NodeBatches needs the argument 'batch_size'"):
        data.train_loader(dict(type="NodeBatches"), "here", 3, 0, 1)


def test_processes_get_parts_of_the_same_batches():
    config = dict(type="NodeBatches", batch_size=30)
    whole = task().train_loader(config, "here", 5, 0, 1)
    parts = [task().train_loader(config, "here", 5, rank, 2) for rank in (0, 1)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert torch.equal(batch.n_id, torch.cat([first.n_id, second.n_id]))


def test_positions_travel_with_the_rows():
    options = dict(dim=4, walks_per_node=2, walk_length=5)
    data = task(dict(name="random", inductive=True), positions=options)
    whole = data.nodes.graph.positions
    assert whole.shape == (NODES, 4)
    batches = [
        *data.train_loader(dict(type="NodeBatches", batch_size=20), "here", 0, 0, 1),
        *data.train_loader(None, "here", 0, 0, 1),
        *data.eval_loader("test"),
        *data.observed_batches(),
        data.example(),
    ]
    for batch in batches:
        assert torch.equal(batch.positions, whole[batch.n_id])
    data.setup(1)
    assert not torch.equal(data.nodes.graph.positions, whole)
    data.setup(0)
    assert torch.equal(data.nodes.graph.positions, whole)
    assert "positions" not in task().example()


@pytest.mark.parametrize("sparse", [False, True])
def test_latency_of_models_it_knows_how_to_feed(sparse):
    data = task(dataset=lambda: graph(sparse=sparse), latency_batches=[1, 8], hops=1)
    shape = dict(in_channels=6, hidden_channels=4, out_channels=3)
    for model, adapter in ((MLP(**shape), GraphAdapter(["x"])), (GCN(**shape), GraphAdapter())):
        measured = data.latency(model, adapter)
        assert list(measured) == ["1", "8"]
        assert all(times["fetch"] >= 0 and times["compute"] > 0 for times in measured.values())
    assert data.latency(MLP(**shape), GraphAdapter(["x", "positions"])) == {}
    assert task(latency_batches=()).latency(MLP(**shape), GraphAdapter(["x"])) == {}
