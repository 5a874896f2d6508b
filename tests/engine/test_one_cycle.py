import math

import pytest
import torch
from mmengine.registry import PARAM_SCHEDULERS

from structkd.engine.one_cycle import with_cycles
from structkd.errors import ConfigError


def run(settings, steps, lr=1e-3):
    """Learning rate and momentum at each iteration."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=lr, betas=(0.95, 0.99))
    parts = []
    for config in with_cycles(settings, lr, steps, "here"):
        parts.append(PARAM_SCHEDULERS.get(config.pop("type"))(optimizer, **config))
    seen = []
    for _ in range(steps):
        group = optimizer.param_groups[0]
        seen.append((group["lr"], group["betas"][0]))
        optimizer.step()
        for part in parts:
            part.step()
    return seen


def half_cosine(start, end, share):
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


@pytest.mark.parametrize("total", [100, 201])
def test_rises_and_falls_along_half_cosines_and_momentum_returns(total):
    seen = run(dict(type="OneCycle"), total)
    turn = round(0.4 * total)
    for step, (lr, momentum) in enumerate(seen):
        if step < turn:
            expected = half_cosine(1e-3, 1e-2, step / turn), half_cosine(0.95, 0.85, step / turn)
        else:
            share = (step - turn) / (total - turn)
            expected = half_cosine(1e-2, 1e-7, share), half_cosine(0.85, 0.95, share)
        # mmengine holds each part one step longer where two meet
        assert lr == pytest.approx(expected[0], abs=0.03 / total * 10)
        assert momentum == pytest.approx(expected[1], abs=0.3 / total)
    assert max(lr for lr, _ in seen) == pytest.approx(1e-2, rel=0.02)
    assert min(momentum for _, momentum in seen) == pytest.approx(0.85, abs=2e-3)
    assert seen[-1][1] == pytest.approx(0.95, abs=2e-3)
    assert max(momentum for _, momentum in seen) <= 0.95 + 1e-9


def test_other_schedulers_are_left_alone_and_nothing_stays_nothing():
    other = dict(type="MultiStepLR", milestones=[3])
    assert with_cycles([other], 1.0, 5, "here") == [other]
    assert with_cycles(None, 1.0, 5, "here") is None
    assert len(with_cycles([other, dict(type="OneCycle", peak=2)], 1.0, 5, "here")) == 5


@pytest.mark.parametrize("bad, message", [(dict(peek=3), "peak"), (dict(rise=1.5), "between 0 and 1")])
def test_bad_settings(bad, message):
    with pytest.raises(ConfigError, match=message):
        with_cycles(dict(type="OneCycle", **bad), 1e-3, 10, "here")


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_very_short_trainings(steps):
    seen = run(dict(type="OneCycle"), steps)
    assert len(seen) == steps
    assert all(0 < lr <= 1e-2 for lr, _ in seen)
