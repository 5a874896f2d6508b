import pytest
import torch
from torch import nn
from torch_geometric.data import Data

from structkd.adapters import GraphAdapter
from structkd.adapters.taps import tapped
from structkd.errors import ConfigError, DataError, WiringError
from structkd.models import GCN


@pytest.fixture
def data():
    return Data(x=torch.randn(4, 3), edge_index=torch.tensor([[0, 1], [1, 2]]), n_id=torch.arange(4))


@pytest.fixture
def mlp():
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))


def test_reads_logits_taps_and_graph(data, mlp):
    structure = GraphAdapter(inputs=["x"], taps={"x": "1"})(mlp, data)
    assert torch.equal(structure.x, mlp[:2](data.x))
    assert torch.equal(structure.logits, mlp(data.x))
    assert torch.equal(structure.edge_index, data.edge_index)
    assert not mlp[1]._forward_hooks


def test_wrong_tap_lists_the_nearest(mlp):
    mlp.add_module("classifier", nn.Linear(2, 2))
    with pytest.raises(WiringError, match=r"'classifer'.*Nearest: classifier"):
        GraphAdapter(inputs=["x"], taps={"x": "classifer"}).check(mlp)


def test_any_callable_and_whole_data(data):
    structure = GraphAdapter(inputs=["data"])(lambda d: d.x[:, :2], data)
    assert structure.logits.shape == (4, 2)
    with pytest.raises(WiringError, match=r"need an nn\.Module"):
        GraphAdapter(inputs=["x"], taps={"x": "0"})(lambda x: x, data)


def test_missing_input_and_missing_field(data, mlp):
    with pytest.raises(DataError, match="'weights'"):
        GraphAdapter(inputs=["x", "weights"])(mlp, data)

    class Codes(nn.Module):
        def forward(self, x):
            return {"logits": x, "codes": x.argmax(1), "losses": {"commitment": x.sum()}}

    structure = GraphAdapter(inputs=["x"], fields=["codes"])(Codes(), data)
    assert structure.codes.shape == (4,)
    assert set(structure.losses) == {"commitment"}
    with pytest.raises(WiringError, match="promises tokens"):
        GraphAdapter(inputs=["x"], fields=["tokens"])(Codes(), data)


def test_replay_runs_the_same_model_on_other_features(data, mlp):
    structure = GraphAdapter(inputs=["x"], taps={"h": "0"}, expose_input=True)(mlp, data)
    assert torch.equal(structure["input"], data.x)
    again = structure["replay"](data.x + 1)
    assert torch.equal(again.logits, mlp(data.x + 1))
    assert torch.equal(again.h, mlp[0](data.x + 1))


def test_hooks_are_gone_after_an_error(mlp):
    with pytest.raises(RuntimeError), tapped(mlp, {"x": "0"}):
        mlp(torch.randn(2, 7))
    assert not mlp[0]._forward_hooks


def test_self_loops_reach_the_model_and_not_the_structure(data):
    seen = []

    def model(x, edge_index):
        seen.append(edge_index)
        return x

    adapter = GraphAdapter(self_loops=True)
    structure = adapter(model, data)
    adapter(model, data)
    assert seen[0].tolist() == [[0, 1, 0, 1, 2, 3], [1, 2, 0, 1, 2, 3]]
    assert seen[1] is seen[0]
    assert torch.equal(structure.edge_index, data.edge_index)


def test_layerwise_evaluation_gives_the_same_logits(data):
    model = GCN(in_channels=3, hidden_channels=5, out_channels=2).eval()
    whole, blocks = (GraphAdapter(chunk=chunk)(model, data).logits for chunk in (None, 2))
    torch.testing.assert_close(blocks, whole)
    assert not blocks.requires_grad
    assert GraphAdapter(chunk=2)(model.train(), data).logits.requires_grad
    with pytest.raises(ConfigError, match="the logits alone"):
        GraphAdapter(chunk=2, taps={"x": "acts.0"})
