import pytest

from structkd.engine.schedules import Weight, weight
from structkd.errors import ConfigError


def test_constant_and_ramp():
    assert [weight(0.3).at(e, 10) for e in (0, 9)] == [0.3, 0.3]
    ramp = weight({"start": 0.0, "end": 1.0, "begin": 2, "stop": 6})
    assert [ramp.at(e, 100) for e in (0, 2, 3, 4, 6, 50)] == [0.0, 0.0, 0.25, 0.5, 1.0, 1.0]


def test_ramp_ends_with_training_by_default():
    ramp = Weight(1.0, 0.0)
    assert ramp.at(0, 11) == 1.0
    assert ramp.at(5, 11) == pytest.approx(0.5)
    assert ramp.at(10, 11) == 0.0


def test_cosine_is_slow_at_both_ends():
    ramp = Weight(0.0, 1.0, 0, 4, "cosine")
    assert ramp.at(1, 5) == pytest.approx(0.14644660940672627)
    assert ramp.at(2, 5) == pytest.approx(0.5)


@pytest.mark.parametrize("bad", [{"start": 0, "end": 1, "shape": "step"}, {"start": 0, "end": 1, "ramp": 3}])
def test_bad_schedule(bad):
    with pytest.raises(ConfigError):
        weight(bad)
    with pytest.raises(ConfigError, match="must not come before"):
        Weight(0, 1, begin=5, stop=2)
