"""Locks between processes that share a work dir; a process that dies leaves none behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mmengine.dist import is_main_process

from structkd.errors import CheckpointError


def hold(path: Path) -> IO[str] | None:
    """The lock file, held until it is closed; None where another process holds it. Parent folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a")
    try:
        import fcntl
    except ImportError:  # no such locks on this system: the file alone keeps nobody out
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
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
