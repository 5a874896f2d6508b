import math

import pytest
import torch

from structkd.errors import ConfigError, DataError
from structkd.losses import (
    consecutive_product,
    correlation_congruence,
    probabilistic_transfer,
    similarity_preserving,
)


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_by_hand():
    # Products [[1, 0], [0, 4]] and [[1, 1], [1, 1]]: rows (1, 0), (0, 1) against (1, 1) / sqrt(2).
    f_s, f_t = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0], [1.0]])
    half = 0.5**0.5
    assert similarity_preserving(f_s, f_t).item() == pytest.approx((2 * (1 - half) ** 2 + 2 * half**2) / 4)


def test_against_loops_over_samples():
    f_s, f_t = double(4, 3, 2, 5), double(4, 6, 7, 1)
    rows = []
    for f in (f_s, f_t):
        gram = torch.stack([torch.stack([(a * b).sum() for b in f]) for a in f])
        rows.append(torch.stack([row / row.norm() for row in gram]))
    assert torch.allclose(similarity_preserving(f_s, f_t), (rows[0] - rows[1]).square().mean())
    assert torch.autograd.gradcheck(similarity_preserving, (double(3, 2, 2), double(3, 5)))


def test_zero_at_equality_and_blind_to_rotation_scale_and_order():
    f, other, order = double(4, 8), double(4, 5), torch.randperm(4)
    rotation, _ = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))
    assert similarity_preserving(f, f) == 0
    assert similarity_preserving(f, 3 * f @ rotation).abs() < 1e-14
    assert torch.allclose(similarity_preserving(f[order], other[order]), similarity_preserving(f, other))


def test_a_single_sample_teaches_nothing():
    f = double(1, 5)
    value = similarity_preserving(f, double(1, 5))
    value.backward()
    assert value.abs() < 1e-14 and f.grad.abs().max() < 1e-14


@pytest.mark.parametrize("shape", [(0, 3, 2, 2), (2, 3, 0, 2)])
def test_empty(shape):
    f = double(*shape)
    value = similarity_preserving(f, f.detach())
    value.backward()
    assert value == 0


def test_sides_hold_the_same_samples():
    with pytest.raises(DataError, match="of 2 samples, teacher features of 3"):
        similarity_preserving(double(2, 3), double(3, 3))


def cosines(f):
    rows = f.flatten(1)
    return torch.stack([torch.stack([torch.cosine_similarity(a, b, 0) for b in rows]) for a in rows])


def test_transfer_by_hand_and_against_the_formula():
    # Chances (2/3, 1/3) at a right angle, (1/2, 1/2) in one direction.
    apart, alike = torch.eye(2, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    expected = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    assert probabilistic_transfer(alike, apart).item() == pytest.approx(expected * 2 / 4, rel=1e-6)
    f_s, f_t = double(4, 3), double(4, 2, 2)
    p_s, p_t = ((1 + cosines(f)) / (1 + cosines(f)).sum(1, keepdim=True) for f in (f_s, f_t))
    expected = (p_t * ((p_t + 1e-7) / (p_s + 1e-7)).log()).sum() / 16
    assert torch.allclose(probabilistic_transfer(f_s, f_t), expected)
    assert torch.autograd.gradcheck(probabilistic_transfer, (double(4, 3), double(4, 2)))


def test_congruence_against_the_formula():
    f_s, f_t = double(4, 3), double(4, 6)
    unit = [f / f.norm(dim=1, keepdim=True) for f in (f_s, f_t)]
    gauss = [(-0.7 * (u[:, None] - u).square().sum(2)).exp() for u in unit]
    exact = correlation_congruence(f_s, f_t, "gaussian", 0.7)
    assert torch.allclose(exact, (gauss[0] - gauss[1]).square().mean())
    second = [math.exp(-1.4) * (1 + 1.4 * cosines(f) + 1.4**2 / 2 * cosines(f) ** 2) for f in (f_s, f_t)]
    assert torch.allclose(correlation_congruence(f_s, f_t, gamma=0.7), (second[0] - second[1]).square().mean())
    assert torch.allclose(correlation_congruence(f_s, f_t, gamma=0.7, order=20), exact)
    for kernel in ("gaussian", "polynomial"):
        assert torch.autograd.gradcheck(correlation_congruence, (double(3, 3), double(3, 2), kernel))


@pytest.mark.parametrize("loss", [probabilistic_transfer, correlation_congruence])
def test_cosines_are_blind_to_rotation_and_each_sample_s_scale(loss):
    f, other, order = double(5, 4), double(5, 3), torch.randperm(5)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    assert loss(f, f) == 0
    assert loss(f @ rotation * torch.rand(5, 1).double().add(0.1), f).abs() < 1e-14
    assert torch.allclose(loss(f[order], other[order]), loss(f, other))
    assert loss(f, other) > 1e-6


@pytest.mark.parametrize("loss", [probabilistic_transfer, correlation_congruence, consecutive_product])
@pytest.mark.parametrize("samples", [0, 1])
def test_few_samples_have_no_relations(loss, samples):
    f = double(samples, 5)
    value = loss(f, double(samples, 5))
    value.backward()
    assert value.abs() < 1e-14 and f.grad.abs().sum() < 1e-14


@pytest.mark.parametrize("loss", [probabilistic_transfer, correlation_congruence])
def test_samples_of_zeros_and_opposite_ones(loss):
    f = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    value = loss(f, torch.randn(3, 4))
    value.backward()
    assert bool(torch.isfinite(value)) and bool(torch.isfinite(f.grad).all())


def test_consecutive_product():
    f_s, f_t = torch.tensor([[1.0, 2.0], [0.0, 5.0], [1.0, 1.0]]), torch.tensor([[0.0, 4.0], [1.0, 5.0], [1.0, 1.0]])
    assert consecutive_product(f_s, f_t).item() == (1 * 1 + 2 * 0 + 0) / 2
    order = torch.tensor([0, 2, 1])
    assert consecutive_product(f_s[order], f_t[order]) == 0  # a matched sample between two that are not
    assert torch.autograd.gradcheck(consecutive_product, (double(4, 2), double(4, 2)))
    with pytest.raises(DataError, match=r"\(3, 2\), teacher features \(3, 3\)"):
        consecutive_product(double(3, 2), double(3, 3))


def test_unknown_kernel():
    with pytest.raises(ConfigError, match="kernel is 'rbf'"):
        correlation_congruence(double(2, 2), double(2, 2), "rbf")
