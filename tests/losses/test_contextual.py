import math

import pytest
import torch

from structkd.errors import ConfigError, DataError
from structkd.losses import contextual_loss

#: Samples of three, one and four elements; number 1 has none.
BATCH = torch.tensor([0, 0, 0, 2, 3, 3, 3, 3])
each_tau = pytest.mark.parametrize("tau", [None, 0.2])


def sides():
    return torch.randn(8, 3, dtype=torch.float64).requires_grad_(), torch.randn(8, 5, dtype=torch.float64)


def attention(f, tau):
    if tau is None:
        return (f @ f.t() / f.size(1) ** 0.5).softmax(1)
    f = f / f.norm(dim=1, keepdim=True)
    return (f @ f.t() / tau).softmax(1)


@each_tau
def test_samples_one_by_one(tau):
    f_s, f_t = sides()
    parts = [sample == BATCH for sample in (0, 2, 3)]
    plain = [(attention(f_s[p], tau) - attention(f_t[p], tau)).square().sum(1).mean() for p in parts]
    ours, plain = contextual_loss(f_s, f_t, BATCH, tau), sum(plain) / 3
    assert torch.allclose(ours, plain, rtol=1e-12)
    assert torch.allclose(*(torch.autograd.grad(value, f_s)[0] for value in (ours, plain)), atol=1e-12)


@each_tau
def test_gradcheck(tau):
    f_s, f_t = sides()
    assert torch.autograd.gradcheck(lambda f: contextual_loss(f, f_t, BATCH, tau), f_s)


def test_by_hand():
    # Two orthogonal elements against two equal ones: rows (e^5, 1) / (e^5 + 1) against halves.
    f_s, f_t = torch.tensor([[2.0, 0.0], [0.0, 3.0]]).double(), torch.ones(2, 1).double()
    share = 1 / (1 + math.exp(-5))
    assert contextual_loss(f_s, f_t, tau=0.2).item() == pytest.approx(2 * (share - 0.5) ** 2, abs=1e-14)
    shares = 1 / (1 + math.exp(-4 / 2**0.5)), 1 / (1 + math.exp(-9 / 2**0.5))
    expected = sum(2 * (s - 0.5) ** 2 for s in shares) / 2
    assert contextual_loss(f_s, f_t, tau=None).item() == pytest.approx(expected, abs=1e-14)


@each_tau
def test_zero_at_equality_and_for_a_rotation(tau):
    _, f = sides()
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    assert contextual_loss(f, f, BATCH, tau) == 0
    assert contextual_loss(f @ turn, f, BATCH, tau) < 1e-20
    scaled = f * torch.rand(8, 1, dtype=torch.float64).add(0.5)
    assert (contextual_loss(scaled, f, BATCH, tau) < 1e-20) == (tau is not None)


def test_single_elements_and_none():
    f_s, f_t = sides()
    loss = contextual_loss(f_s, f_t, torch.arange(8))
    assert loss == 0 and not torch.autograd.grad(loss, f_s)[0].any()
    loss = contextual_loss(f_s[:0], f_t[:0], BATCH[:0])
    assert loss == 0 and loss.requires_grad
    assert contextual_loss(f_s[:0], f_t[:0]) == 0


def test_samples_do_not_meet():
    f_s, f_t = sides()
    loss = contextual_loss(f_s[:3], f_t[:3])
    (gradient,) = torch.autograd.grad(contextual_loss(f_s, f_t, BATCH), f_s)
    assert torch.allclose(gradient[:3], torch.autograd.grad(loss, f_s)[0][:3] / 3, atol=1e-12)


def test_long_features_kill_the_published_form():
    f_s, f_t = torch.randn(2, 16, 64).unbind()
    f_s.requires_grad_()

    def size(tau, length):
        loss = contextual_loss(length * f_s, length * f_t, tau=tau)
        return float(torch.autograd.grad(loss, f_s)[0].norm())

    assert size(None, 3.0) < 1e-6 and size(0.2, 3.0) == pytest.approx(size(0.2, 1.0), rel=1e-3)


def test_bad_input():
    f_s, f_t = sides()
    with pytest.raises(DataError, match=r"expected \[N, C_s\]"):
        contextual_loss(f_s, f_t[:5])
    with pytest.raises(DataError, match=r"expected \[8\], ascending"):
        contextual_loss(f_s, f_t, BATCH.flip(0))
    with pytest.raises(DataError, match=r"expected \[8\], ascending"):
        contextual_loss(f_s, f_t, BATCH[:4])
    with pytest.raises(ConfigError, match="tau is 0"):
        contextual_loss(f_s, f_t, tau=0)


@pytest.mark.parametrize("tau", [None, 0.2])
def test_products_keep_their_digits_under_autocast(tau):
    f_t = torch.randn(32, 16)
    f_s = (f_t + 0.1 * torch.randn(32, 16)).requires_grad_()
    batch = torch.arange(4).repeat_interleave(8)
    expected = contextual_loss(f_s, f_t, batch, tau)
    (exact,) = torch.autograd.grad(expected, f_s)
    with torch.autocast("cpu", torch.bfloat16):
        value = contextual_loss(f_s, f_t, batch, tau)
    (gradient,) = torch.autograd.grad(value, f_s)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
    assert float((gradient - exact).norm() / exact.norm()) < 1e-5
