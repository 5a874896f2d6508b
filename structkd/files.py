"""Files that are either whole or as they were before: every write goes to a neighbour and is then renamed.

A process that is killed while it writes leaves the old file untouched (and the unfinished neighbour behind). What is
`durable` is on the disk before it gets its name, so that a power cut cannot leave an empty file either; without it
thousands of small files are written many times faster.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch


@contextmanager
def atomic_open(path: str | Path, durable: bool = True) -> Iterator[IO[bytes]]:
    """A binary file to write, which takes the name `path` only when the block ends without an error.

    Missing parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A neighbour, because a rename is atomic only within one file system; the process id keeps two writers apart.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(unfinished, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def atomic_write_bytes(path: str | Path, content: bytes | bytearray | memoryview, durable: bool = True) -> Path:
    """Write `content` to `path`; returns the path."""
    with atomic_open(path, durable) as file:
        file.write(content)
    return Path(path)


def atomic_write_text(path: str | Path, text: str, durable: bool = True) -> Path:
    """Write `text` in UTF-8 to `path`; returns the path."""
    return atomic_write_bytes(path, text.encode("utf-8"), durable)


def atomic_write_json(path: str | Path, value: Any) -> Path:
    """Write `value` as indented JSON to `path`; returns the path.

    NaN and infinities, which JSON does not have, become null. Tuples and tensors become lists, NumPy and
    single-element tensor scalars numbers, paths strings; anything else that JSON lacks is a TypeError.
    """
    return atomic_write_text(path, json.dumps(_plain(value), indent=2, allow_nan=False) + "\n")


def atomic_torch_save(value: Any, path: str | Path) -> Path:
    """`torch.save(value, path)`, whole or not at all; returns the path."""
    with atomic_open(path) as file:
        torch.save(value, file)
    return Path(path)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # tensors, NumPy arrays and scalars
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
