"""A line that says how far a long work is."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def progress(items: Iterable[Item], total: int, what: str, show: bool = True) -> Iterator[Item]:
    """The items, with a line on the error stream that counts them: rewritten in a terminal, now and then elsewhere."""
    terminal = sys.stderr.isatty()
    every = max(1, total // (100 if terminal else 10))
    for number, item in enumerate(items, 1):
        yield item
        if show and (number % every == 0 or number == total):
            end = "\n" if number == total or not terminal else "\r"
            print(f"{what}: {number} of {total}", end=end, file=sys.stderr, flush=True)
