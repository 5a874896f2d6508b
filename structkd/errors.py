"""Errors that say what is wrong, where, and what was expected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class StructkdError(ValueError):
    """Base of every error that a person's input can cause."""


class DataError(StructkdError):
    """A data file or tensor is missing, damaged or out of range."""


class ConfigError(StructkdError):
    """A config holds an unknown key, type or value."""


class WiringError(StructkdError):
    """Two parts do not fit: a field nobody provides, a module path that matches nothing."""


class CheckpointError(StructkdError):
    """A checkpoint or cache is damaged or belongs to something else."""


class TrainingError(StructkdError):
    """Training broke down: a loss that is not finite."""


class WriteError(StructkdError, OSError):
    """A file cannot be written: the disk is full, or it may not be written to."""


@contextmanager
def located(where: str) -> Iterator[None]:
    """Put `where` in front of a `StructkdError` raised in the block, unless its message begins with it."""
    try:
        yield
    except StructkdError as error:
        if str(error).startswith(where):
            raise
        raise type(error)(f"{where}: {error}") from error


def reason(error: BaseException) -> str:
    """What another library's error says, for a message of ours: one line of 200 characters at most."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # colours of a terminal
    return " ".join(text.split())[:200] or type(error).__name__


def nearest(name: str, options: Iterable[str]) -> str:
    """A sentence that lists the options closest to `name`, or all of them when none is close."""
    options = sorted(str(option) for option in options)
    if not options:
        return "There is nothing to choose from."
    close = difflib.get_close_matches(str(name), options, n=5, cutoff=0.5)
    if close:
        return "Nearest: " + ", ".join(close) + "."
    shown = ", ".join(options[:20])
    return f"Available: {shown}{', ...' if len(options) > 20 else ''}."
