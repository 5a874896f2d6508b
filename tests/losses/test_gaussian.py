import math

import pytest
import torch

from structkd.errors import DataError
from structkd.losses import gaussian_nll


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_is_the_likelihood_of_a_normal_distribution():
    mean, f_t, variance = double(2, 3, 4, 5), double(2, 3, 4, 5), torch.tensor([0.5, 1, 7], dtype=torch.float64)
    normal = torch.distributions.Normal(mean, variance.sqrt().view(1, 3, 1, 1))
    expected = -normal.log_prob(f_t).mean() - math.log(2 * math.pi) / 2
    assert torch.allclose(gaussian_nll(mean, f_t, variance), expected)
    rows = [f.permute(0, 2, 3, 1).reshape(40, 3) for f in (mean, f_t)]
    batch = torch.arange(2).repeat_interleave(20)
    assert torch.allclose(gaussian_nll(*rows, variance, batch), expected)


def test_gradients_and_minimum():
    variance = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gaussian_nll, (double(4, 2), double(4, 2), variance))
    f = double(4, 2)
    assert gaussian_nll(f, f, variance).item() == pytest.approx(0)  # log .5 + log 2
    assert gaussian_nll(f + 0.1, f, variance).item() == pytest.approx((0.01 / 0.5 + 0.01 / 2) / 4)


def test_samples_weigh_alike_and_none_is_zero():
    mean, f_t, variance = double(5, 2), double(5, 2), torch.ones(2, dtype=torch.float64)
    parts = [gaussian_nll(mean[rows], f_t[rows], variance) for rows in (slice(0, 1), slice(1, 5))]
    assert torch.allclose(gaussian_nll(mean, f_t, variance, torch.tensor([0, 3, 3, 3, 3])), sum(parts) / 2)
    empty = double(0, 2)
    gaussian_nll(empty, empty, variance).backward()


def test_bad_input():
    with pytest.raises(DataError, match=r"expected \[2\], one a channel"):
        gaussian_nll(double(4, 2), double(4, 2), torch.ones(3))
    with pytest.raises(DataError, match="as many channels"):
        gaussian_nll(double(4, 2), double(4, 3), torch.ones(2))
