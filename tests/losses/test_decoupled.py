import math

import pytest
import torch

from structkd.errors import DataError
from structkd.losses import decoupled_kl, kl_divergence


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_by_hand():
    # p_t = (1/2, 1/4, 1/4), p_s = (1/4, 1/4, 1/2), label 0.
    # b = (1/2, 1/2) and (1/4, 3/4), q = (1/2, 1/2) and (1/3, 2/3).
    z_t = torch.tensor([[2.0, 1.0, 1.0]], dtype=torch.float64).log()
    z_s = torch.tensor([[1.0, 1.0, 2.0]], dtype=torch.float64).log()
    target, others = decoupled_kl(z_s, z_t, torch.tensor([0]))
    assert target.item() == pytest.approx(math.log(2) / 2 + math.log(2 / 3) / 2)
    assert others.item() == pytest.approx(math.log(3 / 2) / 2 + math.log(3 / 4) / 2)


def test_the_parts_make_the_divergence():
    """Equation 6 of the paper, with the second part's weight that the paper takes away."""
    z_s, z_t, y = double(6, 5), double(6, 5), torch.tensor([0, 4, 2, 2, 1, 3])
    target, others = decoupled_kl(z_s, z_t, y, 2.0)
    unsure = 1 - (z_t / 2).softmax(1)[torch.arange(6), y]
    assert torch.allclose(target + unsure * others, kl_divergence(z_s, z_t, 2.0, reduction="none"))


def test_gradients():
    y = torch.tensor([1, 0, 2])
    assert torch.autograd.gradcheck(lambda s, t: decoupled_kl(s, t, y, 1.5), (double(3, 3), double(3, 3)))


def test_zero_at_equality_blind_to_a_constant_and_by_row():
    z_s, z_t, y, order = double(5, 4), double(5, 4), torch.tensor([0, 1, 2, 3, 0]), torch.randperm(5)
    assert all(not part.any() for part in decoupled_kl(z_t, z_t, y))
    assert all(part.abs().max() < 1e-14 for part in decoupled_kl(z_t + double(5, 1), z_t, y))
    shuffled = decoupled_kl(z_s[order], z_t[order], y[order])
    assert all(torch.allclose(a, b[order]) for a, b in zip(shuffled, decoupled_kl(z_s, z_t, y)))


def test_logits_far_apart_and_few_classes():
    # The teacher is as sure as float32 gets; the label's logit is far beyond what subtracting 1000 takes away.
    z_t = torch.tensor([[5000.0, 1.0, 0.0]])
    z_s = torch.tensor([[5000.0, 0.0, 1.0]], requires_grad=True)
    target, others = decoupled_kl(z_s, z_t, torch.tensor([0]))
    (target + others).sum().backward()
    q = torch.tensor([math.e, 1]) / (1 + math.e)
    assert others.item() == pytest.approx(float(q[0] - q[1]), rel=1e-5) and target.item() == 0
    assert bool(torch.isfinite(z_s.grad).all())
    assert decoupled_kl(double(3, 2), double(3, 2), torch.tensor([0, 1, 1]))[1].abs().max() == 0  # one other class
    assert decoupled_kl(double(0, 2), double(0, 2), torch.zeros(0, dtype=torch.long))[0].shape == (0,)


@pytest.mark.parametrize(
    ("classes", "y", "message"),
    [(1, [0, 0], "There are 1 classes"), (3, [0, 3], "from 0 to 3"), (3, [-1, 0], "from -1"), (3, [0], "labels")],
)
def test_bad_input(classes, y, message):
    with pytest.raises(DataError, match=message):
        decoupled_kl(double(2, classes), double(2, classes), torch.tensor(y))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_compared_in_float32(dtype):
    z_t, y = torch.randn(64, 100), torch.arange(64)
    narrow = [z.to(dtype).requires_grad_() for z in (z_t + 0.3 * torch.randn(64, 100), z_t)]
    wide = [z.detach().double().requires_grad_() for z in narrow]
    with torch.autocast("cpu", torch.bfloat16):
        parts = decoupled_kl(*narrow, y)
    for part, expected in zip(parts, decoupled_kl(*wide, y)):
        assert bool((part >= -1e-6).all())
        torch.testing.assert_close(part.double().mean(), expected.mean(), rtol=1e-3, atol=0)
    exact = torch.autograd.grad(sum(part.mean() for part in decoupled_kl(*wide, y)), wide[:1])[0]
    (gradient,) = torch.autograd.grad(sum(part.mean() for part in parts), narrow[:1])
    assert float((gradient.double() - exact).norm() / exact.norm()) < 0.01
