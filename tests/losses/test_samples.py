import pytest
import torch

from structkd.errors import DataError
from structkd.losses import sample_mean
from structkd.losses.samples import check_pair


def test_by_hand():
    values = torch.tensor([1.0, 3.0, 8.0], requires_grad=True)
    mean = sample_mean(values, torch.tensor([0, 0, 2]))  # sample 1 is empty
    mean.backward()
    assert mean.item() == 5 and values.grad.tolist() == [0.25, 0.25, 0.5]
    assert sample_mean(values).item() == 4


def test_a_sample_weighs_the_same_beside_any_other():
    a, b = torch.randn(5, dtype=torch.float64), torch.randn(90, dtype=torch.float64)
    both = sample_mean(torch.cat([a, b]), torch.tensor([0] * 5 + [1] * 90))
    assert torch.allclose(both, (a.mean() + b.mean()) / 2)


def test_half_precision_is_summed_in_single():
    values = torch.full((70_000,), 1.0, dtype=torch.float16)
    assert sample_mean(values, torch.zeros(70_000, dtype=torch.long)).item() == pytest.approx(1, rel=1e-4)


def test_without_elements():
    for batch in (None, torch.zeros(0, dtype=torch.long)):
        values = torch.zeros(0, requires_grad=True)
        mean = sample_mean(values, batch)
        mean.backward()
        assert mean.item() == 0


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ((4, 3), (5, 3), r"\(4, 3\).*\(5, 3\)"),
        ((4, 3), (4, 2), "as many channels"),
        ((1, 3, 2, 2), (1, 3, 2, 4), "of one size"),
        ((4, 3, 2), (4, 3, 2), r"rows \[N, C\] or maps"),
        ((1, 3, 2, 2), (4, 3), "of one size"),
    ],
)
def test_what_does_not_fit_is_refused(student, teacher, message):
    with pytest.raises(DataError, match=message):
        check_pair(torch.zeros(student), torch.zeros(teacher))


def test_batch_goes_with_rows():
    rows, grid = torch.zeros(4, 3), torch.zeros(1, 3, 2, 2)
    check_pair(rows, torch.zeros(4, 2), torch.zeros(4, dtype=torch.long), same_channels=False)
    for features, length in ((rows, 3), (grid, 1)):
        with pytest.raises(DataError, match="batch"):
            check_pair(features, features, torch.zeros(length, dtype=torch.long))
