import pytest
import torch

from structkd.errors import ConfigError, DataError
from structkd.losses import feature_loss


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(("metric", "expected"), [("mse", 2.5), ("l1", 1.5)])
def test_by_hand(metric, expected):
    f_s, f_t = torch.tensor([[1.0, 4.0], [0.0, 0.0]]), torch.tensor([[0.0, 2.0], [-1.0, 2.0]])
    assert feature_loss(f_s, f_t, metric).item() == expected
    grid_s, grid_t = (f.t().reshape(1, 2, 1, 2) for f in (f_s, f_t))
    assert feature_loss(grid_s, grid_t, metric).item() == expected


@pytest.mark.parametrize("metric", ["mse", "l1"])
def test_gradient_and_reference(metric):
    f_s, f_t, batch = double(5, 3), double(5, 3), torch.tensor([0, 0, 0, 2, 2])
    assert torch.autograd.gradcheck(lambda a, b: feature_loss(a, b, metric, batch), (f_s, f_t))
    power = 2 if metric == "mse" else 1
    error = (f_s - f_t).abs() ** power
    assert torch.allclose(feature_loss(f_s, f_t, metric, batch), (error[:3].mean() + error[3:].mean()) / 2)


def test_zero_at_equality_and_blind_to_order():
    f_s, f_t, order = double(6, 3), double(6, 3), torch.randperm(6)
    batch = torch.tensor([0, 0, 1, 1, 1, 1])
    assert feature_loss(f_s, f_s, batch=batch) == 0
    assert torch.allclose(feature_loss(f_s[order], f_t[order], batch=batch[order]), feature_loss(f_s, f_t, batch=batch))


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2, 2), (2, 3, 0, 2)])
def test_empty(shape):
    f = double(*shape)
    value = feature_loss(f, f.detach())
    value.backward()
    assert value == 0


def test_bad_input():
    with pytest.raises(ConfigError, match="metric is 'l3'"):
        feature_loss(double(2, 3), double(2, 3), "l3")
    with pytest.raises(DataError, match="as many channels"):
        feature_loss(double(2, 3), double(2, 4))
