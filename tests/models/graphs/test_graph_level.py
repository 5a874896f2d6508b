import pytest
import torch

from structkd.errors import ConfigError
from structkd.models import GraphClassifier, GraphMLP

N = 30

BATCH = torch.arange(N) // 10


def one_graph_at_a_time(model, x, edge_index):
    outs = []
    for graph in range(3):
        inside = (edge_index[0] // 10 == graph) & (edge_index[1] // 10 == graph)
        args = (x[graph * 10 : graph * 10 + 10], edge_index[:, inside] - graph * 10, torch.zeros(10, dtype=torch.long))
        outs.append(model(*args)["logits"])
    return torch.cat(outs)


@pytest.mark.parametrize("pooling", ["sum", "mean", "max"])
@pytest.mark.parametrize("conv", ["gin", "gcn"])
def test_batches_equal_single_graphs(conv, pooling, features, multigraph):
    model = GraphClassifier(5, 8, 3, conv=conv, pooling=pooling).double().eval()
    x, edge_index = features(5), multigraph()
    edge_index = edge_index[:, edge_index[0] // 10 == edge_index[1] // 10]
    out = model(x, edge_index, BATCH)
    assert out["x"].shape == (N, 8)
    torch.testing.assert_close(out["logits"], one_graph_at_a_time(model, x, edge_index))


@pytest.mark.parametrize("pooling", ["sum", "mean", "max"])
def test_student_pools_its_nodes(pooling, features):
    model = GraphMLP(5, 8, 3, num_layers=2, norm="none", pooling=pooling).double()
    x = features(5)
    out = model(x, BATCH)
    reduce = {"sum": lambda h: h.sum(1), "mean": lambda h: h.mean(1), "max": lambda h: h.max(1).values}[pooling]
    torch.testing.assert_close(out["x"], model.mlp(x).relu())
    torch.testing.assert_close(out["logits"], model.head(reduce(out["x"].view(3, 10, 8))))
    out["logits"].sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_graphs_without_nodes_and_empty_batches():
    for model, edges in (
        (GraphMLP(5, 8, 3).eval(), ()),
        (GraphClassifier(5, 8, 3).eval(), (torch.zeros(2, 0).long(),)),
    ):
        nothing = model(torch.zeros(0, 5), *edges, torch.zeros(0, dtype=torch.long))
        assert nothing["logits"].shape == (0, 3) and nothing["x"].shape == (0, 8)
        batch = torch.tensor([0, 2])
        out = model(torch.randn(2, 5), *edges, batch, num_graphs=4)["logits"]
        torch.testing.assert_close(out[1], model.head.bias)
        torch.testing.assert_close(out[3], model.head.bias)


def test_student_exports():
    model = GraphMLP(5, 8, 3).eval()
    nodes = torch.export.Dim("nodes", min=2)
    program = torch.export.export(
        model,
        (torch.randn(6, 5), torch.tensor([0, 0, 1, 1, 2, 2]), 3),
        dynamic_shapes={"x": {0: nodes}, "batch": {0: nodes}, "num_graphs": None},
    )
    x, batch = torch.randn(9, 5), torch.arange(9) // 3
    torch.testing.assert_close(program.module()(x, batch, 3)["logits"], model(x, batch, 3)["logits"])


def test_reset_and_bad_words():
    model = GraphClassifier(5, 8, 3)
    before = model.convs[0].nn.lins[0].weight.clone()
    model.reset_parameters()
    assert not torch.equal(before, model.convs[0].nn.lins[0].weight)
    with pytest.raises(ConfigError, match="conv='gat'"):
        GraphClassifier(5, 8, 3, conv="gat")
    with pytest.raises(ConfigError, match=r"pooling='mea'.*mean"):
        GraphMLP(5, 8, 3, pooling="mea")
