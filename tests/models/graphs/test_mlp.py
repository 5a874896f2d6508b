import pytest
import torch

from structkd.adapters.taps import tapped
from structkd.errors import ConfigError
from structkd.models import MLP
from structkd.models.graphs.linear import Dropout, Linear


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_order_of_layers_and_taps(norm):
    model = MLP(6, 5, 3, num_layers=3, norm=norm).double().eval()
    x = torch.randn(8, 6, dtype=torch.float64)
    with tapped(model, {"hidden": "lins.1", "read": "drops.1"}) as seen:
        out = model(x)
    h = model.norms[0](model.lins[0](x)).relu()
    torch.testing.assert_close(seen["hidden"], model.lins[1](h))
    torch.testing.assert_close(seen["read"], model.norms[1](seen["hidden"]).relu())
    torch.testing.assert_close(out, model.lins[2](seen["read"]))


def test_width_and_state_dict_keys():
    model = MLP(6, 5, 3, num_layers=3, width=4)
    assert [tuple(lin.weight.shape) for lin in model.lins] == [(20, 6), (20, 20), (3, 20)]
    assert list(model.state_dict()) == [f"lins.{i}.{name}" for i in range(3) for name in ("weight", "bias")]


def test_one_layer_is_linear():
    model = MLP(6, 5, 3, num_layers=1)
    x = torch.randn(4, 6)
    torch.testing.assert_close(model(x), model.lins[0](x))


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_sparse_features_value_and_gradient(rows):
    model = MLP(9, 5, 3).double()
    x = torch.randn(rows, 9, dtype=torch.float64) * (torch.rand(rows, 9) < 0.3)
    model(x).square().sum().backward()
    dense = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    out = model(x.to_sparse_csr())
    out.square().sum().backward()
    torch.testing.assert_close(out, model(x))
    for p, grad in zip(model.parameters(), dense):
        torch.testing.assert_close(p.grad, grad)


def test_dropout_of_sparse_features_keeps_the_mean():
    x = (torch.rand(60, 50) < 0.4).double()
    drop = Dropout(0.25)
    dropped = drop(x.to_sparse_csr())
    assert set(dropped.values().unique().tolist()) == {0.0, 1 / 0.75}
    assert abs(dropped.values().mean() - 1) < 0.1
    torch.testing.assert_close(drop.eval()(x.to_sparse_csr()).to_dense(), x)
    assert isinstance(Linear(3, 2), torch.nn.Linear)


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_exports_with_a_dynamic_batch(norm):
    model = MLP(6, 5, 3, num_layers=3, dropout=0.5, norm=norm, width=2).eval()
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(model, (torch.randn(4, 6),), dynamic_shapes={"x": {0: batch}})
    x = torch.randn(11, 6)
    torch.testing.assert_close(program.module()(x), model(x))


def test_reset_parameters():
    torch.manual_seed(3)
    model = MLP(6, 5, 3, norm="batch")
    start = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.randn(9, 6)).sum().backward()
    torch.manual_seed(3)
    model.reset_parameters()
    # The same draws in the same order: construction and reset start alike.
    assert all(torch.equal(start[name], value) for name, value in model.state_dict().items())


def test_unknown_norm_and_no_layers():
    with pytest.raises(ConfigError, match=r"norm='batchnorm'.*batch"):
        MLP(3, 4, 2, norm="batchnorm")
    with pytest.raises(ConfigError, match="num_layers=0"):
        MLP(3, 4, 2, num_layers=0)
