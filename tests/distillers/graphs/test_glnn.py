import math

import pytest
import torch

from structkd import Structure
from structkd.distillers import GLNN
from structkd.errors import ConfigError


def pair(nodes=6, classes=4):
    z_s = torch.randn(nodes, classes, dtype=torch.float64, requires_grad=True)
    return z_s, torch.randn(nodes, classes, dtype=torch.float64)


def naive(z_s, z_t, tau):
    total = 0.0
    for s, t in zip(z_s / tau, z_t / tau):
        p, q = t.exp() / t.exp().sum(), s.exp() / s.exp().sum()
        total = total + sum(p[k] * (p[k].log() - q[k].log()) for k in range(len(p)))
    return total / len(z_s)


@pytest.mark.parametrize("tau", [1.0, 0.7, 4.0])
def test_value_and_gradient_match_the_formula(tau):
    z_s, z_t = pair()
    loss = GLNN(tau)(Structure(logits=z_s), Structure(logits=z_t))["soft_label"]
    expected = naive(z_s, z_t, tau)
    assert torch.allclose(loss, expected, rtol=1e-12)
    assert torch.allclose(*(torch.autograd.grad(value, z_s)[0] for value in (loss, expected)), rtol=1e-10)


def test_hand_computed():
    z_t = torch.tensor([[math.log(3), 0.0]])  # probabilities 3/4, 1/4
    loss = GLNN()(Structure(logits=torch.zeros(1, 2)), Structure(logits=z_t))["soft_label"]
    assert float(loss) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


def test_zero_at_equality_and_beyond_a_constant():
    _, z = pair()
    assert float(GLNN()(Structure(logits=z + 3), Structure(logits=z))["soft_label"]) == pytest.approx(0, abs=1e-14)


def test_only_masked_rows_count():
    z_s, z_t = pair()
    mask = torch.tensor([True, False, True, True, False, False])
    loss = GLNN()(Structure(logits=z_s, mask=mask), Structure(logits=z_t))["soft_label"]
    assert torch.allclose(loss, naive(z_s[mask], z_t[mask], 1.0))
    loss.backward()
    assert not bool(z_s.grad[~mask].any())


def test_node_batches_add_up_to_the_whole():
    z_s, z_t = pair()
    whole = GLNN()(Structure(logits=z_s), Structure(logits=z_t))["soft_label"]
    parts = [GLNN()(Structure(logits=z_s[i]), Structure(logits=z_t[i]))["soft_label"] * len(i) / 6
             for i in (torch.tensor([4, 1]), torch.tensor([0, 2, 3, 5]))]  # fmt: skip
    assert torch.allclose(sum(parts), whole)


def test_extreme_logits_stay_finite():
    z_s, z_t = torch.tensor([[0.0, 3000.0]], requires_grad=True), torch.tensor([[3000.0, 0.0]])
    loss = GLNN()(Structure(logits=z_s), Structure(logits=z_t))["soft_label"]
    loss.backward()
    assert loss.item() == pytest.approx(3000.0) and bool(torch.isfinite(z_s.grad).all())


@pytest.mark.parametrize("nodes", [0, 1])
def test_empty_and_single(nodes):
    z_s, z_t = pair(nodes)
    loss = GLNN()(Structure(logits=z_s), Structure(logits=z_t))["soft_label"]
    loss.backward()
    assert bool(torch.isfinite(loss)) and (nodes or loss.item() == 0)


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ConfigError, match=r"GLNN\(tau=0\)"):
        GLNN(tau=0)
