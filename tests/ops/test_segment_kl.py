"""Divergence of softmaxes over segments, against softmaxes over rows of a dense matrix."""

import math

import pytest
import torch

from structkd.errors import DataError
from structkd.ops import segment_kl

#: Segment 1 is empty, segment 3 has one entry.
INDEX = torch.tensor([2, 0, 0, 4, 3, 2, 0, 4])
COLUMN = torch.tensor([0, 3, 1, 5, 2, 4, 5, 0])


def dense(a, b, width):
    """The same, with the entries of each segment in a row of `width` zeros."""
    p, q = (torch.zeros(5, width, dtype=a.dtype).index_put((INDEX, COLUMN), side).log_softmax(1) for side in (a, b))
    return (p.exp() * (p - q)).sum(1)


def scores(scale=1.0):
    return (scale * torch.randn(2, 8, dtype=torch.float64)).requires_grad_().unbind()


@pytest.mark.parametrize("scale", [0.01, 1, 60])
def test_zeros_are_counted_and_not_stored(scale):
    a, b = scores(scale)
    zeros = 9 - torch.bincount(INDEX, minlength=5)
    ours, plain = segment_kl(a, b, INDEX, 5, zeros), dense(a, b, 9)
    assert torch.allclose(ours, plain, rtol=1e-9, atol=1e-13)
    for one, other in zip(torch.autograd.grad(ours.sum(), (a, b)), torch.autograd.grad(plain.sum(), (a, b))):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("scale", [0.01, 1, 60])
def test_without_zeros(scale):
    a, b = scores(scale)
    value = segment_kl(a, b, INDEX, 5)
    for segment in range(5):
        p, q = (side[segment == INDEX].log_softmax(0) for side in (a, b))
        assert value[segment].item() == pytest.approx((p.exp() * (p - q)).sum().item(), rel=1e-9, abs=1e-13)
    assert value[1] == 0 and value[3] == 0


@pytest.mark.parametrize("zeros", [None, torch.tensor([3, 2, 0, 1, 0])])
def test_gradcheck(zeros):
    assert torch.autograd.gradcheck(lambda a, b: segment_kl(a, b, INDEX, 5, zeros), scores())


def test_by_hand():
    # p = (3/4, 1/4) and q = (1/4, 3/4): once as two entries, once as one entry above a single zero.
    log3 = math.log(3)
    a, b = torch.tensor([log3, 0.0, log3]).double(), torch.tensor([0.0, log3, -log3]).double()
    value = segment_kl(a, b, torch.tensor([0, 0, 1]), 2, torch.tensor([0, 1]))
    assert torch.allclose(value, torch.tensor([log3 / 2, log3 / 2]).double(), atol=1e-14)


def test_zero_at_equality_and_at_a_constant_shift():
    a, _ = scores()
    assert not segment_kl(a, a, INDEX, 5).any()
    assert segment_kl(a, a - 300, INDEX, 5).abs().max() < 1e-10
    assert segment_kl(a, a + 300, INDEX, 5).abs().max() < 1e-10


def test_small_divergences_among_many_zeros_keep_their_digits():
    a, b = (0.5 + 0.01 * torch.randn(2, 8, dtype=torch.float64)).unbind()
    zeros = torch.full((5,), 1_000_000)
    exact, single = segment_kl(a, b, INDEX, 5, zeros), segment_kl(a.float(), b.float(), INDEX, 5, zeros)
    assert (exact[[0, 2, 4]] > 0).all() and exact.max() < 1e-7
    # The sides' own rounding is all that is left, in units of their difference.
    assert torch.allclose(single.double(), exact, rtol=1e-3, atol=0)


def test_bad_input():
    with pytest.raises(DataError, match=r"expected one shape \[E\]"):
        segment_kl(torch.ones(3), torch.ones(2), INDEX[:3], 5)
    with pytest.raises(DataError, match=r"zeros has shape \(2,\)"):
        segment_kl(torch.ones(8), torch.ones(8), INDEX, 5, torch.ones(2))
