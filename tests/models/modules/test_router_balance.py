import math

import pytest
import torch
from torch.autograd import gradcheck

from structkd.models.modules.router_balance import (
    entropy,
    importance_loss,
    load_loss,
    mutual_information_loss,
    variation,
    z_loss,
)


def test_variation_by_hand():
    assert float(variation(torch.tensor([3.0, 3.0, 3.0]))) == 0
    # mean 2, population variance (1 + 1) / 2 = 1, so 1 / 4
    assert float(variation(torch.tensor([1.0, 3.0]))) == pytest.approx(0.25)
    # everything to one of E: variance (E - 1) mean^2
    assert float(variation(torch.tensor([8.0, 0, 0, 0]))) == pytest.approx(3)
    assert float(variation(torch.zeros(3))) == 0


def test_importance_by_hand():
    probs = torch.tensor([[0.9, 0.1], [0.6, 0.4]])
    # sums 1.5 and 0.5: mean 1, variance 0.25
    assert float(importance_loss(probs)) == pytest.approx(0.25)
    assert float(importance_loss(torch.eye(3))) == 0  # sharp and even


def test_load_by_hand():
    logits = torch.tensor([[1.0, 0.0, -1.0]])
    noisy = torch.tensor([[0.5, 0.75, -1.0]])
    # k=1: threshold 0.75; P(1 + 0.5 z >= 0.75) = Phi(0.5), Phi(-1.5), Phi(-3.5)
    phi = [0.5 * (1 + math.erf(v / math.sqrt(2))) for v in (0.5, -1.5, -3.5)]
    mean = sum(phi) / 3
    expected = sum((p - mean) ** 2 for p in phi) / 3 / mean**2
    assert float(load_loss(logits, noisy, 1, 0.5)) == pytest.approx(expected, rel=1e-4)
    # k=2: threshold 0.5
    phi = [0.5 * (1 + math.erf(v / math.sqrt(2))) for v in (1.0, -1.0, -3.0)]
    mean = sum(phi) / 3
    expected = sum((p - mean) ** 2 for p in phi) / 3 / mean**2
    assert float(load_loss(logits, noisy, 2, 0.5)) == pytest.approx(expected, rel=1e-4)


def test_load_tells_what_importance_does_not():
    # Summed probabilities are equal, but the top choice is always expert 0 or 1, never 2.
    logits = torch.tensor([[0.4, 0.2, 0.3], [0.2, 0.4, 0.3]]).log()
    assert float(importance_loss(logits.softmax(1))) == pytest.approx(0, abs=1e-6)
    assert float(load_loss(logits, logits, 1, 0.01)) == pytest.approx(0.5, abs=1e-3)  # loads 1, 1, 0 (a half each way)


def test_z_by_hand():
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    assert float(z_loss(logits)) == pytest.approx((math.log(2) ** 2 + math.log(4) ** 2) / 2)


def test_mutual_information_by_hand():
    assert float(mutual_information_loss(torch.eye(4).repeat(2, 1))) == pytest.approx(0, abs=1e-6)
    even, one = torch.full((5, 4), 0.25), torch.eye(4)[[1, 1, 1]]
    assert float(mutual_information_loss(even)) == pytest.approx(math.log(4))  # balanced but undecided
    assert float(mutual_information_loss(one)) == pytest.approx(math.log(4))  # decided but unbalanced
    probs = torch.tensor([[0.8, 0.2], [0.2, 0.8]])
    h = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    assert float(mutual_information_loss(probs)) == pytest.approx(h)


def test_entropy():
    assert entropy(torch.tensor([[1.0, 0], [0.5, 0.5]])).tolist() == pytest.approx([0, math.log(2)])


@pytest.mark.parametrize("of", ["importance", "load", "z", "mutual_information"])
def test_gradients_order_and_empty(of, generator):
    losses = {
        "importance": lambda logits: importance_loss(logits.softmax(1)),
        "load": lambda logits: load_loss(logits, logits + 0.1 * noise[: len(logits)], 2, 0.3),
        "z": z_loss,
        "mutual_information": lambda logits: mutual_information_loss(logits.softmax(1)),
    }
    loss = losses[of]
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    assert gradcheck(loss, (logits,))
    turn = torch.tensor([2, 0, 3, 1])
    value = loss(logits)
    noise = noise[:, turn]
    torch.testing.assert_close(loss(logits[:, turn]), value)  # experts are interchangeable
    nothing = torch.zeros(0, 4, requires_grad=True)
    loss(nothing).backward()
    assert float(loss(nothing)) == 0
