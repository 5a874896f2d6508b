import itertools

import pytest
import torch
import torch.nn.functional as F

from structkd.errors import DataError
from structkd.losses import context_distribution, context_ranking, ranking


def published(scores_s, scores_t, margin):
    """Margin ranking over all pairs with labels in {-1, 0, 1}, less the constant of the pairs labelled 0."""
    first, second = torch.tensor(list(itertools.combinations(range(scores_s.size(1)), 2))).t()
    gap = scores_t[:, first] - scores_t[:, second]
    label = (gap > margin).double() - (gap < -margin).double()
    loss = F.margin_ranking_loss(scores_s[:, first], scores_s[:, second], label, margin=margin)
    return loss - margin * (label == 0).double().mean()


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.8])
def test_ranking_equals_the_list_of_pairs(margin, monkeypatch):
    monkeypatch.setattr(ranking, "PAIRS", 200)  # four anchors at a time
    s, t = torch.rand(2, 9, 7, dtype=torch.float64)
    s.requires_grad_()
    fast, slow = context_ranking(s, t, margin), published(s, t, margin)
    assert torch.allclose(fast, slow, rtol=0, atol=1e-12)
    assert torch.allclose(torch.autograd.grad(fast, s)[0], torch.autograd.grad(slow, s)[0], rtol=0, atol=1e-12)


def test_ranking_by_hand():
    # Teacher: 0 before 1 (gap .5); 2 is within the margin .2 of 1. Pairs that count: (0, 1), (0, 2).
    t = torch.tensor([[0.9, 0.4, 0.3]], dtype=torch.float64)
    s = torch.tensor([[0.5, 0.6, 0.1]], dtype=torch.float64, requires_grad=True)
    value = context_ranking(s, t, 0.2)
    value.backward()
    assert value.item() == pytest.approx((0.2 + 0.1) / 3)
    assert s.grad.tolist() == [pytest.approx([-1 / 3, 1 / 3, 0])]


def test_zero_at_equality():
    t = torch.rand(5, 6)
    s = t.clone().requires_grad_()
    value = context_ranking(s, t, 0.1)
    value.backward()
    assert value == 0 and not s.grad.any()
    assert context_distribution(t, t) == 0


def test_distribution_is_a_divergence_per_anchor():
    s, t = torch.rand(2, 5, 6)
    expected = F.kl_div(s.log_softmax(-1), t.softmax(-1), reduction="batchmean")
    assert torch.allclose(context_distribution(s, t), expected, atol=1e-6)
    assert context_distribution(s, t, 0.1) > expected


def test_permutation_of_candidates_and_anchors():
    s, t = torch.rand(2, 5, 6, dtype=torch.float64)
    order = torch.randperm(6)
    for loss in (context_distribution, context_ranking):
        assert torch.allclose(loss(s[:, order].flip(0), t[:, order].flip(0)), loss(s, t))


@pytest.mark.parametrize("shape", [(0, 5), (4, 1), (4, 0)])
def test_nothing_to_rank(shape):
    s = torch.rand(shape, requires_grad=True)
    value = context_ranking(s, torch.rand(shape))
    value.backward()
    assert value == 0 and s.grad.shape == shape


def test_bad_input():
    with pytest.raises(DataError, match="one shape"):
        context_ranking(torch.rand(2, 3), torch.rand(3, 2))
