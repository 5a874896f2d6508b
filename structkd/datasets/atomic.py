"""Files that are either whole or as they were before, and a line that says how far a long work is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")


def write_whole(path: str | Path, content: bytes | str, durable: bool = False) -> Path:
    """Write `content` to a neighbour of `path`, then give it that name; returns the path.

    Args:
        path: missing parent folders are made.
        content: text is written in UTF-8.
        durable: wait until the content is on the disk, so that a power cut cannot leave an empty file either. Slow:
            for the one file that says that all others are there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A neighbour, because a rename is atomic only within one file system; the process id keeps two writers apart.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(unfinished, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return path


def progress(items: Iterable[Item], total: int, what: str, show: bool = True) -> Iterator[Item]:
    """The items, with a line on the error stream that counts them: rewritten in a terminal, now and then elsewhere."""
    terminal = sys.stderr.isatty()
    every = max(1, total // (100 if terminal else 10))
    for number, item in enumerate(items, 1):
        yield item
        if show and (number % every == 0 or number == total):
            end = "\n" if number == total or not terminal else "\r"
            print(f"{what}: {number} of {total}", end=end, file=sys.stderr, flush=True)
