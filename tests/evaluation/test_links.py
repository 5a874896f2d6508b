import pytest
import torch

from structkd.errors import DataError
from structkd.evaluation import hits_at_k, mean_reciprocal_rank, roc_auc


def naive_auc(positive, negative):
    wins = [(p > n) + 0.5 * (p == n) for p in positive.tolist() for n in negative.tolist()]
    return sum(wins) / len(wins)


def naive_rank(score, negatives):
    return 1 + sum((n > score) + 0.5 * (n == score) for n in negatives)


def scores(seed=0, ties=True):
    torch.manual_seed(seed)
    positive, negative = torch.randn(17, dtype=torch.float64) + 0.5, torch.randn(31, dtype=torch.float64)
    return ((positive * 2).round(), (negative * 2).round()) if ties else (positive, negative)


@pytest.mark.parametrize("ties", [False, True])
def test_auc_counts_pairs(ties):
    positive, negative = scores(ties=ties)
    assert roc_auc(positive, negative) == pytest.approx(naive_auc(positive, negative), abs=1e-12)
    assert roc_auc(positive, negative) == pytest.approx(1 - roc_auc(negative, positive), abs=1e-12)


def test_auc_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    positive, negative = scores()
    labels = torch.cat([torch.ones(17), torch.zeros(31)])
    assert roc_auc(positive, negative) == pytest.approx(metrics.roc_auc_score(labels, torch.cat([positive, negative])))


def test_perfect_and_constant_scores():
    assert roc_auc(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == 1.0
    assert roc_auc(torch.zeros(4), torch.zeros(3)) == 0.5
    assert mean_reciprocal_rank(torch.tensor([2.0]), torch.tensor([[0.0, 1.0]])) == 1.0
    assert hits_at_k(torch.zeros(4), torch.zeros(3), 1) == 0.0


def test_reciprocal_rank_splits_ties():
    positive, negative = scores()
    expected = sum(1 / naive_rank(p, negative.tolist()) for p in positive.tolist()) / 17
    assert mean_reciprocal_rank(positive, negative) == pytest.approx(expected, abs=1e-12)
    own = negative.expand(17, 31)[:, torch.randperm(31)]
    assert mean_reciprocal_rank(positive, own) == pytest.approx(expected, abs=1e-12)
    # ranks 1 and 2.5 by hand
    by_hand = mean_reciprocal_rank(torch.tensor([5.0, 1.0]), torch.tensor([[4.0, 3.0], [2.0, 1.0]]))
    assert by_hand == pytest.approx((1 + 1 / 2.5) / 2)


def test_hits_by_hand():
    positive, negative = torch.tensor([0.9, 0.5, 0.1]), torch.tensor([0.8, 0.4, 0.3])
    assert hits_at_k(positive, negative, 1) == pytest.approx(1 / 3)
    assert hits_at_k(positive, negative, 2) == pytest.approx(2 / 3)
    assert hits_at_k(positive, negative, 3) == pytest.approx(2 / 3)
    assert hits_at_k(positive, negative, 4) == 1.0


def test_order_does_not_matter():
    positive, negative = scores()
    shuffled = positive[torch.randperm(17)], negative[torch.randperm(31)]
    for metric in (roc_auc, mean_reciprocal_rank, lambda p, n: hits_at_k(p, n, 5)):
        assert metric(positive, negative) == pytest.approx(metric(*shuffled), abs=1e-12)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: roc_auc(torch.zeros(0), torch.zeros(2)), "no true links"),
        (lambda: roc_auc(torch.zeros(2), torch.zeros(0)), "at least one false link"),
        (lambda: roc_auc(torch.zeros(2, 1), torch.zeros(2)), "do not fit"),
        (lambda: roc_auc(torch.tensor([float("nan")]), torch.zeros(2)), "NaN"),
        (lambda: mean_reciprocal_rank(torch.zeros(2), torch.zeros(3, 4)), "do not fit"),
        (lambda: hits_at_k(torch.zeros(2), torch.zeros(2), 0), "at least 1"),
    ],
)
def test_bad_input_is_named(call, said):
    with pytest.raises(DataError, match=said):
        call()
