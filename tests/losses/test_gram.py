import pytest
import torch

from structkd.errors import DataError
from structkd.losses import gram_mse


def dense(g_s, g_t):
    return (g_s @ g_s.t() - g_t @ g_t.t()).square().mean()


@pytest.mark.parametrize("rows", [1, 5, 40])  # below and above the widths: both forms
def test_equals_the_matrices(rows):
    g_s = torch.randn(rows, 7, dtype=torch.float64, requires_grad=True)
    g_t = torch.randn(rows, 3, dtype=torch.float64, requires_grad=True)
    fast, slow = gram_mse(g_s, g_t), dense(g_s, g_t)
    assert torch.allclose(fast, slow, rtol=1e-10)
    for ours, theirs in zip(torch.autograd.grad(fast, (g_s, g_t)), torch.autograd.grad(slow, (g_s, g_t))):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)


def test_by_hand():
    # Gram matrices [[1, 2], [2, 4]] and [[0, 0], [0, 4]]: differences 1, 2, 2, 0.
    g_s, g_t = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [2.0]])
    assert gram_mse(g_s, g_t).item() == 9 / 4


@pytest.mark.parametrize("rows", [4, 40])
def test_zero_at_equality_up_to_rotation(rows):
    g = torch.randn(rows, 8, requires_grad=True)
    value = gram_mse(g, g.detach())
    value.backward()
    assert value == 0 and g.grad.abs().max() < 1e-5
    rotation, _ = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))
    assert gram_mse(g.double(), g.double() @ rotation).abs() < 1e-12
    order = torch.randperm(rows)
    other = torch.randn(rows, 5)
    assert torch.allclose(gram_mse(g[order], other[order]), gram_mse(g, other), rtol=1e-5)


def test_near_equality_keeps_its_digits_in_float32():
    g = torch.randn(400, 16)
    near = g + 1e-4 * torch.randn(400, 16)
    assert gram_mse(near, g).item() == pytest.approx(dense(near.double(), g.double()).item(), rel=1e-5)


def test_empty_and_bad_input():
    g = torch.randn(0, 4, requires_grad=True)
    value = gram_mse(g, torch.randn(0, 3))
    value.backward()
    assert value == 0
    with pytest.raises(DataError, match="2 rows, teacher features 3"):
        gram_mse(torch.randn(2, 4), torch.randn(3, 4))
