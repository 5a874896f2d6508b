import pytest

from structkd.distillers.tokens.temperature import SCHEDULES, temperature
from structkd.errors import ConfigError


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ends_and_direction(schedule):
    values = [temperature(share / 10, 0.5, 0.1, schedule) for share in range(11)]
    assert values[0] == 0.5
    assert values[-1] == pytest.approx(0.5 if schedule == "constant" else 0.1)
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("schedule, value", [("linear", 0.4), ("cosine", 0.4), ("exponential", 0.32)])
def test_half_way(schedule, value):
    assert temperature(0.5, 0.64, 0.16, schedule) == pytest.approx(value)


def test_unknown_schedule():
    with pytest.raises(ConfigError, match=r"schedule is 'cosin'\. Nearest: cosine"):
        temperature(0, 1, 1, "cosin")
