import pytest

from structkd.visualization.verdicts import interval, verdicts


def test_interval_is_students_t():
    # mean 2, sample standard deviation 1, t(0.975; 2) = 4.302653, over sqrt(3)
    low, high = interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-5)
    assert interval([1.0]) is None
    assert interval([2.0, 2.0]) == (2.0, 2.0)


def differences(results, values):
    results["paired"] = {"glnn": {"plain": {"test/accuracy": {"values": values, "mean": 0.0, "std": 0.0}}}}
    return verdicts(results)


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        ([0.10, 0.11, 0.12], "helps", "GLNN helps: +11.00 points against the plain student (better in 3 of 3 seeds"),
        ([-0.10, -0.11, -0.12], "hurts", "GLNN does not help, it hurts: -11.00 points"),
        ([-0.01, 0.00, 0.01], "unclear", "GLNN shows no clear difference: +0.00 points"),
        ([0.05], "open", "from one seed"),
    ],
)
def test_kinds(results, values, kind, words):
    (verdict,) = differences(results, values)
    assert verdict.kind == kind
    assert words in verdict.text


def test_missing_values_and_missing_pairs_say_nothing(results):
    assert differences(results, [None, None]) == []
    del results["paired"]
    assert verdicts(results) == []
