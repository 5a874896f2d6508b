"""Locks between processes that share a work dir; a process that dies leaves none behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mmengine.dist import is_main_process

from structkd.errors import CheckpointError
from structkd.files import writing

logger = logging.getLogger("structkd")
#: Seconds between two looks at a lock that another process holds.
PAUSE = 0.05


def hold(path: Path) -> IO[str] | None:
    """The lock file, held until it is closed; None where another process holds it. Parent folders are made."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    try:
        import fcntl
    except ImportError:  # no such locks on this system: the file alone keeps nobody out
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError:  # nor on this file system
        pass
    return file


@contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Within the block no other process may enter a block with the same `path`.

    The processes of one distributed run count as one.

    Raises:
        CheckpointError: another process is in one, naming `what`.
    """
    file = hold(path) if is_main_process() else None
    if file is None and is_main_process():
        raise CheckpointError(f"{what} is being run by another process ({path} is locked). Wait for it, or stop it.")
    try:
        yield
    finally:
        if file is not None:
            file.close()


@contextmanager
def in_turn(path: Path, what: str) -> Iterator[None]:
    """Within the block no other process is in a block with the same `path`; waits until none is, and says so."""
    file = hold(path)
    if file is None:
        logger.info("%s is being written by another process; waiting for it (%s)", what, path)
    while file is None:
        time.sleep(PAUSE)
        file = hold(path)
    with file:
        yield
