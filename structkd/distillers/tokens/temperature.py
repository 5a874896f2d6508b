"""Temperatures that change while a student trains."""

from __future__ import annotations

import math

from structkd.errors import ConfigError, nearest

SCHEDULES = ("constant", "linear", "cosine", "exponential")


def temperature(share: float, start: float, end: float, schedule: str = "cosine") -> float:
    """The temperature after a share of the training.

    Args:
        share: 0 in the first epoch, 1 in the last.
        start, end: its first and last value, above 0.
        schedule: "constant" stays at `start`; "linear"; "cosine", slow at both ends; "exponential", by the same factor
            every epoch.

    Raises:
        ConfigError: unknown schedule.
    """
    if schedule == "constant":
        return start
    if schedule == "linear":
        return start + (end - start) * share
    if schedule == "cosine":
        return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
    if schedule == "exponential":
        return start * (end / start) ** share
    raise ConfigError(f"schedule is '{schedule}'. {nearest(schedule, SCHEDULES)}")
