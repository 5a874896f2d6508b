import pytest
import torch

from structkd import Structure
from structkd.distillers import RKD
from structkd.errors import ConfigError
from structkd.losses import angle_loss, distance_loss

STUDENT, TEACHER = (Structure(neck=torch.randn(2, c, 9, 9, dtype=torch.float64)) for c in (3, 5))


def values(distiller):
    return [value.item() for value in distiller(STUDENT, TEACHER).values()]


def test_both_terms_on_every_cell():
    losses = RKD(elements=81, distance_weight=3.0, angle_weight=0.5)(STUDENT, TEACHER)
    rows = [side.neck.permute(0, 2, 3, 1).reshape(2, 81, -1) for side in (STUDENT, TEACHER)]
    assert torch.allclose(losses["distance"], 3 * sum(distance_loss(*pair) for pair in zip(*rows)) / 2)
    assert torch.allclose(losses["angle"], 0.5 * sum(angle_loss(*pair) for pair in zip(*rows)) / 2)


def test_draws_follow_the_seed_and_the_step():
    first, second = RKD(elements=10, seed=3), RKD(elements=10, seed=3)
    one, two = values(first), values(first)
    assert one != two and [values(second), values(second)] == [one, two]
    assert values(RKD(elements=10, seed=4)) != one
    resumed = RKD(elements=10, seed=3)
    resumed.step.fill_(1)
    assert values(resumed) == two


def test_evaluation_draws_nothing_anew():
    distiller = RKD(elements=10).eval()
    assert values(distiller) == values(distiller) and distiller.step == 0


def test_both_sides_are_drawn_alike():
    """Any number of drawn elements of equal sides costs nothing."""
    for elements in (2, 5, 40):
        losses = RKD(elements=elements)(STUDENT, STUDENT)
        assert all(value.item() == 0 for value in losses.values())


def test_terms_of_weight_zero_are_left_out():
    assert RKD(angle_weight=0)(STUDENT, TEACHER).keys() == {"distance"}
    assert RKD(distance_weight=0)(STUDENT, TEACHER).keys() == {"angle"}


@pytest.mark.parametrize("options", [{"elements": 0}, {"angle_weight": -1}, {"distance_weight": -0.1}])
def test_bad_settings_are_refused(options):
    (name,) = options
    with pytest.raises(ConfigError, match=name):
        RKD(**options)
