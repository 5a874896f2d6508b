"""One-cycle schedules (Smith & Topin 2019) as detectors use them, made of mmengine's cosine schedules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from structkd.errors import ConfigError, nearest

#: What a `dict(type="OneCycle")` may set.
DEFAULTS = {"peak": 10.0, "end": 1e-4, "rise": 0.4, "momentum": (0.95, 0.85)}


def with_cycles(schedulers: Any, lr: float, steps: int, where: str) -> Any:
    """`param_scheduler` of a stage with every `dict(type="OneCycle")` in it written out over `steps` iterations."""
    if not schedulers:
        return schedulers
    listed = [schedulers] if isinstance(schedulers, Mapping) else list(schedulers)
    written: list[Any] = []
    for number, each in enumerate(listed):
        if each.get("type") == "OneCycle":
            written += one_cycle(each, lr, steps, f"{where}.{number}")
        else:
            written.append(each)
    return written


def one_cycle(settings: Mapping[str, Any], lr: float, steps: int, where: str) -> list[dict[str, Any]]:
    """A one-cycle schedule over all of training, stepped at each iteration.

    The learning rate rises from `lr` to `peak * lr` over the share `rise` of training, then falls to `end * lr`; the
    momentum (the first beta of Adam) goes from `momentum[0]` to `momentum[1]` and back meanwhile, all along half
    cosines.

    Args:
        settings: `peak`, `end`, `rise`, `momentum`, see `DEFAULTS`.
        lr: of the optimiser.
        steps: iterations of the training; with fewer than two there is nothing to schedule.

    Differences: the configs shipped with mmdet3d 1.x let the momentum end at 1.0, where the ratio 1.0 of earlier
    versions was meant; here it returns to where it began.
    """
    settings = {key: value for key, value in settings.items() if key != "type"}
    for key in settings:
        if key not in DEFAULTS:
            raise ConfigError(f"{where}.{key}: OneCycle takes no argument '{key}'. {nearest(key, DEFAULTS)}")
    chosen: dict[str, Any] = {**DEFAULTS, **settings}
    rise, momentum = chosen["rise"], chosen["momentum"]
    if not 0 < rise < 1 or not isinstance(momentum, Sequence) or len(momentum) != 2:
        raise ConfigError(
            f"{where}: rise is {rise!r} and momentum {momentum!r}; expected a share between 0 and 1, and two numbers."
        )
    if steps < 2:
        return []
    turn = min(max(1, round(rise * steps)), steps - 1)
    parts = [("CosineAnnealingLR", value * lr) for value in (chosen["peak"], chosen["end"])]
    parts += [("CosineAnnealingMomentum", value) for value in (momentum[1], momentum[0])]
    spans = [(0, turn), (turn, steps)] * 2
    return [
        {
            "type": kind,
            "eta_min": value,
            "T_max": end - begin,
            "begin": begin,
            "end": end,
            "by_epoch": False,
        }
        for (kind, value), (begin, end) in zip(parts, spans)
    ]
