import math

import pytest
import torch

from structkd.errors import ConfigError, DataError
from structkd.losses import token_kl, token_similarity


def test_similarity_by_hand():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    codes = torch.tensor([[3.0, 0.0], [0.0, -1.0], [6.0, 8.0]])
    assert torch.allclose(token_similarity(x, codes), torch.tensor([[0.6, -0.8, 1.0], [0, 0, 0]]))
    expected = -torch.tensor([[4.0, math.sqrt(34), 5.0], [3.0, 1.0, 10.0]])
    assert torch.allclose(token_similarity(x, codes, "euclidean"), expected)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_similarity_on_a_code_has_a_finite_gradient(metric):
    codes = torch.randn(30, 8)
    x = codes[:5].clone().requires_grad_()
    token_similarity(x, codes, metric).sum().backward()
    assert x.grad.isfinite().all()
    assert (token_similarity(x, codes, metric).argmax(1) == torch.arange(5)).all()
    assert token_similarity(x[:0], codes, metric).shape == (0, 30)


def test_kl_by_hand():
    # At tau 2: p_t = (3/4, 1/4), p_s = (1/4, 3/4); times tau^2.
    t = torch.tensor([[2 * math.log(3), 0.0]])
    assert token_kl(t.flip(1), t, 2.0).item() == pytest.approx(4 * 0.5 * math.log(3))


def test_kl_is_zero_at_equality_and_pulls_towards_the_teacher():
    s, t = torch.randn(2, 6, 50, dtype=torch.float64)
    assert token_kl(t, t) == 0
    s.requires_grad_()
    (gradient,) = torch.autograd.grad(token_kl(s, t, 4.0), s)
    assert torch.allclose(gradient, 4 * ((s / 4).softmax(-1) - (t / 4).softmax(-1)) / 6)
    assert token_kl(s - gradient, t) < token_kl(s, t)


def test_bad_input():
    with pytest.raises(DataError, match="8 channels, codes 9"):
        token_similarity(torch.randn(2, 8), torch.randn(3, 9))
    with pytest.raises(ConfigError, match="metric is 'dot'"):
        token_similarity(torch.randn(2, 8), torch.randn(3, 8), "dot")
