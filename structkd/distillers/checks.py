"""Constructor arguments are refused where they are given, not where they would fail."""

from __future__ import annotations

from collections.abc import Sequence

from structkd.errors import ConfigError, nearest


def positive(reader: str, **values: float) -> None:
    """Raise `ConfigError` unless every value is above zero."""
    for name, value in values.items():
        if not value > 0:
            raise ConfigError(f"{reader}({name}={value}): expected a number above 0.")


def not_negative(reader: str, **values: float) -> None:
    """Raise `ConfigError` unless every value is zero or above."""
    for name, value in values.items():
        if not value >= 0:
            raise ConfigError(f"{reader}({name}={value}): expected a number of at least 0; 0 leaves the term out.")


def one_of(reader: str, name: str, value: str, options: Sequence[str]) -> None:
    """Raise `ConfigError` unless `value` is among `options`."""
    if value not in options:
        raise ConfigError(f"{reader}({name}={value!r}) is not known. {nearest(value, options)}")
