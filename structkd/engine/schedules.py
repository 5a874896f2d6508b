"""Weights that change during training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from structkd.errors import ConfigError


@dataclass(frozen=True)
class Weight:
    """A loss weight that goes from `start` to `end` between two epochs and is constant outside them.

    Args:
        start, end: values before `begin` and from `stop` on.
        begin, stop: 0-based epochs; `stop=None` is the end of training.
        shape: "linear" or "cosine".
    """

    start: float
    end: float
    begin: int = 0
    stop: int | None = None
    shape: str = "linear"

    def __post_init__(self) -> None:
        if self.shape not in ("linear", "cosine"):
            raise ConfigError(f"A weight's shape is 'linear' or 'cosine', got '{self.shape}'.")
        if self.stop is not None and self.stop < self.begin:
            raise ConfigError(f"A weight's stop ({self.stop}) must not come before its begin ({self.begin}).")

    def at(self, epoch: int, max_epochs: int) -> float:
        """The weight in the given 0-based epoch."""
        stop = max_epochs - 1 if self.stop is None else self.stop
        if self.start == self.end or epoch >= stop:
            return self.end
        if epoch <= self.begin:
            return self.start
        done = (epoch - self.begin) / (stop - self.begin)
        if self.shape == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        return self.start + (self.end - self.start) * done


def weight(value: float | Mapping[str, float | int | str] | Weight, where: str = "weight") -> Weight:
    """A `Weight` from a number or from a dict of its arguments."""
    if isinstance(value, Weight):
        return value
    if isinstance(value, Mapping):
        try:
            return Weight(**value)  # type: ignore[arg-type]
        except TypeError as error:
            raise ConfigError(f"{where}: {error}; a scheduled weight has start, end, begin, stop and shape.") from error
    try:
        return Weight(float(value), float(value))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where} is {value!r}; expected a number, or a dict with start and end.") from error
