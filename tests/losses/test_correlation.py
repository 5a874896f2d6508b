import pytest
import torch

from structkd.errors import DataError
from structkd.losses import correlation_loss


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def pearson(f_s, f_t):
    """Rows [N, C]: mean over channels of 1 - r."""
    r = [torch.corrcoef(torch.stack([a, b]))[0, 1] for a, b in zip(f_s.t(), f_t.t())]
    return 1 - torch.stack(r).mean()


def test_is_one_minus_the_correlation():
    f_s, f_t = double(2, 3, 4, 5), double(2, 3, 4, 5)
    rows = [f.permute(0, 2, 3, 1).reshape(40, 3) for f in (f_s, f_t)]
    assert torch.allclose(correlation_loss(f_s, f_t), pearson(*rows))
    order = torch.randperm(40)
    assert torch.allclose(correlation_loss(*(f[order] for f in rows)), pearson(*rows))
    assert torch.autograd.gradcheck(correlation_loss, (double(5, 2), double(5, 2)))


def test_by_hand():
    # Correlation of (0, 1, 2) and (0, 2, 1) is 1/2.
    f_s, f_t = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [2.0], [1.0]])
    assert correlation_loss(f_s, f_t).item() == pytest.approx(0.5)
    assert correlation_loss(f_s, -f_s).item() == pytest.approx(2)


def test_zero_at_equality_up_to_shift_and_scale():
    f = double(6, 3)
    assert correlation_loss(f, f) == 0
    assert correlation_loss(f, f * torch.tensor([2.0, 0.1, 50.0]) + torch.tensor([1.0, 9.0, -100.0])).abs() < 1e-13


@pytest.mark.parametrize("value", [0.0, 0.1, 1234.567])
def test_dead_channels(value):
    """What rounding leaves of a constant's variance is not blown up into a signal."""
    dead = torch.full((999, 1), value, requires_grad=True)
    other = torch.randn(999, 1, requires_grad=True)
    assert correlation_loss(dead, dead.detach()) == 0
    loss = correlation_loss(dead, other) + correlation_loss(other, dead)
    loss.backward()
    assert loss.item() == pytest.approx(1, rel=1e-5)
    assert not dead.grad.any() and other.grad.abs().max() < 1e-5


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2, 2), (2, 3, 0, 2), (1, 3)])
def test_empty_and_single(shape):
    f = double(*shape)
    value = correlation_loss(f, torch.randn_like(f))
    value.backward()
    assert value == 0 and not f.grad.any()


def test_bad_input():
    with pytest.raises(DataError, match="as many channels"):
        correlation_loss(double(4, 3), double(4, 2))
