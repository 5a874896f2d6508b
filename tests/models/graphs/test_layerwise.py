import pytest
import torch

from structkd.errors import ConfigError, DataError
from structkd.models import APPNP, GAT, GCN, MLP, GraphSAGE, VQTokenizer, inference

N = 30

MODELS = {
    "gcn": lambda: GCN(6, 8, 3, num_layers=3, dropout=0.5, norm="batch"),
    "sage gcn": lambda: GraphSAGE(6, 8, 3, num_layers=3, dropout=0.5, norm="layer"),
    "sage mean": lambda: GraphSAGE(6, 8, 3, num_layers=2, dropout=0.5, aggregator="mean"),
    "gat": lambda: GAT(6, 8, 3, num_layers=3, dropout=0.5, heads=4),
    "appnp": lambda: APPNP(6, 8, 3, dropout=0.5),
}


@pytest.mark.parametrize("chunk", [1, 7, N, 1000])
@pytest.mark.parametrize("name", MODELS)
def test_equals_the_whole_graph_forward(name, chunk, features, multigraph):
    model = MODELS[name]().double()
    x, edge_index = features(6) * (torch.rand(N, 6) < 0.5), multigraph()
    expected = model.eval()(x, edge_index)
    model.train()
    for given in (x, x.to_sparse_csr()):
        out = inference(model, given, edge_index, chunk=chunk)
        torch.testing.assert_close(out, expected)
        assert not out.requires_grad
    assert all(module.training for module in model.modules())


def test_modes_of_modules_come_back_even_after_an_error(multigraph):
    model = GCN(6, 8, 3)
    model.norms.eval()
    with pytest.raises(DataError):
        inference(model, torch.randn(N, 5), multigraph())
    assert model.training and model.convs.training and not model.norms.training


def test_rows_of_a_graph_free_model():
    model = MLP(6, 8, 3, dropout=0.5)
    x = torch.randn(20, 6)
    torch.testing.assert_close(inference(model, x, chunk=3), model.eval()(x))


@pytest.mark.parametrize("name", MODELS)
def test_empty_graph(name):
    assert inference(MODELS[name](), torch.zeros(0, 6), torch.zeros(2, 0, dtype=torch.long)).shape == (0, 3)


def test_bad_input(features, multigraph):
    with pytest.raises(ConfigError, match="layers of VQTokenizer are not known"):
        inference(VQTokenizer(6, 8, 3, num_codes=4), features(6), multigraph())
    with pytest.raises(ConfigError, match="chunk=0"):
        inference(MLP(6, 8, 3), features(6), chunk=0)
