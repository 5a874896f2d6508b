import math

import pytest
import torch

from structkd.errors import DataError
from structkd.evaluation.codes import analyze_codes, code_composition, code_usage, perplexity


def test_usage_counts_every_code():
    assert code_usage(torch.tensor([2, 0, 2, 2]), 4).tolist() == [1, 0, 3, 0]
    assert code_usage(torch.zeros(0, dtype=torch.long), 2).tolist() == [0, 0]


@pytest.mark.parametrize("codes", [[0, 4], [-1, 0]])
def test_codes_outside_the_codebook_are_an_error(codes):
    with pytest.raises(DataError, match="codes 0 to 3"):
        code_usage(torch.tensor(codes), 4)


def test_perplexity_is_the_number_of_codes_in_even_use():
    assert perplexity(torch.tensor([5, 5, 5, 5, 0])) == pytest.approx(4)
    assert perplexity(torch.tensor([9, 0])) == pytest.approx(1)
    assert perplexity(torch.tensor([3, 1])) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))
    assert perplexity(torch.tensor([0, 0])) == 0


def test_composition_leaves_unknown_labels_out():
    codes, labels = torch.tensor([0, 0, 1, 1]), torch.tensor([1, -1, 0, 1])
    assert code_composition(codes, labels, 3, 2).tolist() == [[0, 1], [1, 1], [0, 0]]
    with pytest.raises(DataError, match="expected at most 0"):
        code_composition(codes, labels, 3, 1)


def test_purity_by_hand():
    # Code 0: classes 0 0 1; code 1: class 1; code 2 unused. Class 2 has no element, but class 3 has one, under code 1.
    codes, labels = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 0, 1, 1, 3, -1])
    report = analyze_codes(codes, 3, labels)
    assert report.usage.tolist() == [3, 3, 0] and report.used == 2 and report.perplexity == pytest.approx(2)
    assert report.purity == pytest.approx((2 + 1) / 5)
    zero, one, two, three = report.class_purity.tolist()
    assert zero == pytest.approx(2 / 3) and one == pytest.approx((1 / 3 + 1 / 2) / 2) and three == pytest.approx(1 / 2)
    assert math.isnan(two)
    assert report.to_dict()["class_purity"][2] is None and report.to_dict()["codes"] == 3


def test_one_code_a_class_is_pure():
    labels = torch.tensor([2, 0, 1, 1, 2])
    report = analyze_codes(labels, 3, labels)
    assert report.purity == 1 and report.class_purity.tolist() == [1, 1, 1]


def test_without_labels_or_elements():
    report = analyze_codes(torch.tensor([1, 1]), 2)
    assert report.purity is None and report.class_purity is None and report.to_dict()["purity"] is None
    none = torch.zeros(0, dtype=torch.long)
    empty = analyze_codes(none, 2, none)
    assert empty.used == 0 and empty.perplexity == 0 and empty.purity is None
    unknown = analyze_codes(torch.tensor([1, 0]), 2, torch.tensor([-1, -1]))
    assert unknown.used == 2 and unknown.purity is None


def test_labels_of_another_length_are_an_error():
    with pytest.raises(DataError, match=r"\(3,\) but labels \(2,\)"):
        analyze_codes(torch.zeros(3, dtype=torch.long), 2, torch.zeros(2, dtype=torch.long))
