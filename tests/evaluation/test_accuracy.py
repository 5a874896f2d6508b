import pytest
import torch

from structkd.errors import DataError
from structkd.evaluation import accuracy, micro_f1


def test_single_label_counts_known_rows_of_the_mask():
    scores = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [0.0, 9.0]])
    labels = torch.tensor([0, 1, 1, -1])
    assert accuracy(scores, labels) == pytest.approx(2 / 3)
    assert accuracy(scores, labels, torch.tensor([False, True, True, True])) == 0.5
    assert accuracy(scores, labels, torch.tensor([0, 1])) == 1.0
    assert accuracy(scores[:1], labels[:1]) == 1.0


def test_accuracy_ignores_the_order_of_rows():
    torch.manual_seed(0)
    scores, labels = torch.randn(50, 4), torch.randint(-1, 4, (50,))
    order = torch.randperm(50)
    assert accuracy(scores, labels) == accuracy(scores[order], labels[order])


def test_multi_label_scores_each_known_entry():
    scores = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]])
    labels = torch.tensor([[1, 0, 0], [1, -1, 0]])
    assert accuracy(scores, labels) == pytest.approx(3 / 5)
    # one true positive, one false positive, one false negative
    assert micro_f1(scores, labels) == pytest.approx(2 / 4)
    assert micro_f1(scores, labels, torch.tensor([True, False])) == pytest.approx(2 / 3)
    assert micro_f1(-torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.long)) == 0.0


@pytest.mark.parametrize(
    ("scores", "labels", "said"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), "nothing to score"),
        (torch.zeros(2, 3), torch.tensor([-1, -1]), "nothing to score"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), "expected 0 to 2"),
        (torch.zeros(2, 3), torch.tensor([0, -2]), "from -2 to 0"),
        (torch.zeros(2, 3), torch.tensor([0]), "do not fit"),
        (torch.zeros(2, 3), torch.full((2, 3), 2), "expected 0 to 1"),
    ],
)
def test_bad_input_is_named(scores, labels, said):
    with pytest.raises(DataError, match=said):
        accuracy(scores, labels)


def test_micro_f1_wants_several_labels_an_element():
    with pytest.raises(DataError, match=r"\[N, K\]"):
        micro_f1(torch.zeros(2, 3), torch.tensor([0, 1]))
