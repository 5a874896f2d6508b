import math

import pytest
import torch

from structkd.errors import ConfigError, DataError
from structkd.losses import noise_contrastive, sampled_info_nce


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


COUNTS = torch.tensor([[1, 1, 0, 1], [0, 0, 0, 0], [1, 0, 1, 1]], dtype=torch.bool)


def test_info_nce_against_the_formula():
    positive, negative = double(3), double(3, 4)
    expected = 0
    for s, row, counts in zip(positive, negative, COUNTS):
        others = sum(((n / 0.5).exp() for n, c in zip(row, counts) if c), start=0)
        expected = expected - ((s / 0.5).exp() / ((s / 0.5).exp() + others)).log() / 3
    assert torch.allclose(sampled_info_nce(positive, negative, 0.5, COUNTS), expected)
    assert torch.autograd.gradcheck(lambda p, n: sampled_info_nce(p, n, 0.5, COUNTS), (positive, negative))


def test_info_nce_by_hand():
    assert sampled_info_nce(torch.zeros(2), torch.zeros(2, 7)).item() == pytest.approx(math.log(8))
    assert sampled_info_nce(torch.ones(2), torch.zeros(2, 0)) == 0
    assert sampled_info_nce(torch.ones(1), -torch.ones(1, 1), 0.01).item() == pytest.approx(0, abs=1e-30)


def test_nce_against_the_published_quotients():
    """The probabilities of equation 18 as the authors' code forms them, without its small constant."""
    positive, negative, z, n = double(3), double(3, 4), 7.0, 11
    m = COUNTS.sum(1).clamp(min=1) / n
    real, drawn = positive.exp() / z, negative.exp() / z
    expected = -(real / (real + m)).log().sum()
    expected = expected - ((m[:, None] / (drawn + m[:, None])).log() * COUNTS).sum()
    log_z = torch.tensor(z, dtype=torch.float64).log()
    assert torch.allclose(noise_contrastive(positive, negative, log_z, n, COUNTS), expected / 3)
    check = lambda p, q: noise_contrastive(p, q, log_z, n, COUNTS)  # noqa: E731
    assert torch.autograd.gradcheck(check, (positive, negative))


def test_nce_by_hand():
    # A score of log Z + log(K / N) is as likely real as drawn: log 2 for itself and for each of 3 negatives.
    score = math.log(5) + math.log(3 / 10)
    value = noise_contrastive(torch.full((2,), score), torch.full((2, 3), score), torch.tensor(5.0).log(), 10)
    assert value.item() == pytest.approx(4 * math.log(2))


@pytest.mark.parametrize("loss", [sampled_info_nce, lambda p, n: noise_contrastive(p, n, torch.tensor(0.0), 9)])
def test_order_empty_and_far_apart(loss):
    positive, negative, order = double(5), double(5, 3), torch.randperm(5)
    assert torch.allclose(loss(positive[order], negative[order]), loss(positive, negative))
    empty = double(0)
    value = loss(empty, double(0, 3))
    value.backward()
    assert value == 0
    far = torch.tensor([1e4, -1e4], requires_grad=True)
    value = loss(far, torch.tensor([[-1e4], [1e4]]))
    value.backward()
    assert bool(torch.isfinite(value)) and bool(torch.isfinite(far.grad).all())


def test_bad_input():
    with pytest.raises(DataError, match=r"Positives have shape \(3,\), negatives \(2, 4\)"):
        sampled_info_nce(double(3), double(2, 4))
    with pytest.raises(DataError, match="counts"):
        noise_contrastive(double(3), double(3, 4), torch.tensor(0.0), 5, COUNTS[:2])
    with pytest.raises(ConfigError, match="tau is 0"):
        sampled_info_nce(double(3), double(3, 4), 0)
