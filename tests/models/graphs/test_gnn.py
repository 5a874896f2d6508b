import pytest
import torch
from torch_geometric import nn as pyg

from structkd.adapters.taps import tapped
from structkd.errors import ConfigError
from structkd.models import APPNP, GAT, GCN, GraphSAGE

N = 30

KINDS = {"gcn": GCN, "sage": GraphSAGE, "gat": GAT, "appnp": APPNP}
OPTIONS = {"gat": {"heads": 2}, "appnp": {"k": 3}}


def build(kind, **options):
    defaults = {"in_channels": 6, "hidden_channels": 8, "out_channels": 3, "num_layers": 3, **OPTIONS.get(kind, {})}
    return KINDS[kind](**defaults | options).double()


def test_gcn_activates_then_normalises(features, multigraph):
    model = build("gcn", norm="layer").eval()
    x, edge_index = features(6), multigraph()
    h = model.norms[0](model.convs[0](x, edge_index).relu())
    h = model.norms[1](model.convs[1](h, edge_index).relu())
    torch.testing.assert_close(model(x, edge_index), model.convs[2](h, edge_index))


@pytest.mark.parametrize("aggregator", ["gcn", "mean"])
def test_sage_normalises_then_activates(aggregator, features, multigraph):
    model = build("sage", norm="layer", aggregator=aggregator).eval()
    x, edge_index = features(6), multigraph()
    h = model.norms[0](model.convs[0](x, edge_index)).relu()
    h = model.norms[1](model.convs[1](h, edge_index)).relu()
    torch.testing.assert_close(model(x, edge_index), model.convs[2](h, edge_index))
    assert model.convs[0].root_weight == (aggregator == "mean")


def test_gat_widths_and_order(features, multigraph):
    model = build("gat", norm="layer").eval()
    x, edge_index = features(6), multigraph()
    assert [(conv.heads, conv.out_channels) for conv in model.convs] == [(2, 4), (2, 4), (1, 3)]
    h = torch.nn.functional.elu(model.norms[0](model.convs[0](x, edge_index)))
    h = torch.nn.functional.elu(model.norms[1](model.convs[1](h, edge_index)))
    torch.testing.assert_close(model(x, edge_index), model.convs[2](h, edge_index))
    # Its inputs are dropped too.
    assert build("gat", num_layers=1, dropout=1.0, attn_dropout=0.0)(x, edge_index).abs().max() == 0


def test_appnp_is_an_mlp_and_pygs_propagation(features, multigraph):
    model = build("appnp", k=5, alpha=0.3).eval()
    x, edge_index = features(6), multigraph()
    z = model.lins[2](model.lins[1](model.lins[0](x).relu()).relu())
    torch.testing.assert_close(model(x, edge_index), pyg.APPNP(5, 0.3)(z, edge_index))


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("kind", KINDS)
def test_trains_on_dense_and_sparse_features_alike(kind, norm, features, multigraph):
    x, edge_index = features(6) * (torch.rand(N, 6) < 0.5), multigraph()
    model = build(kind, norm=norm, dropout=0.0, **({"attn_dropout": 0.0} if kind == "gat" else {}))
    if kind == "appnp":
        model.propagation.dropout = 0.0
    grads = []
    for given in (x, x.to_sparse_csr()):
        model.zero_grad()
        model(given, edge_index).square().sum().backward()
        grads.append([p.grad.clone() for p in model.parameters()])
        assert all(torch.isfinite(grad).all() for grad in grads[-1])
    for dense, sparse in zip(*grads):
        torch.testing.assert_close(dense, sparse)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_on_sparse_features_and_reset(kind, multigraph):
    model = build(kind, dropout=0.5, norm="batch")
    x, edge_index = (torch.rand(N, 6) < 0.5).double().to_sparse_csr(), multigraph()
    assert not torch.equal(model(x, edge_index), model(x, edge_index))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.reset_parameters()
    after = model.state_dict()
    name = "lins.0.weight" if kind == "appnp" else next(n for n in after if n.endswith("weight") and "convs.0" in n)
    assert not torch.equal(before[name], after[name])
    running = [name for name in after if name.endswith("running_mean")]
    assert running and not any(after[name].any() for name in running)


@pytest.mark.parametrize("kind", ["gcn", "sage", "gat"])
def test_taps_exist_whatever_the_norm(kind, features, multigraph):
    for norm in ("none", "batch"):
        model = build(kind, norm=norm).eval()
        taps = {
            "pre": "convs.1",
            "normed": "norms.1",
            "hidden": "acts.1",
            "in": "convs.1.before",
            "out": "convs.1.after",
        }
        with tapped(model, taps) as seen:
            model(features(6), multigraph())
        assert {name: value.size(0) for name, value in seen.items()} == dict.fromkeys(taps, N)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_nodes", [0, 1])
def test_empty_and_single_node(kind, num_nodes, features):
    out = build(kind)(features(6, num_nodes), torch.zeros(2, 0, dtype=torch.long))
    assert out.shape == (num_nodes, 3) and torch.isfinite(out).all()


def test_heads_must_divide_the_hidden_width():
    with pytest.raises(ConfigError, match="hidden_channels=10 is not a multiple of heads=8"):
        GAT(6, 10, 3)
