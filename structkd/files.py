"""Files that are either whole or as they were before: every write goes to a neighbour and is then renamed.

A process that is killed while it writes leaves the old file untouched (and the unfinished neighbour behind). What is
`durable` is on the disk before it gets its name, so that a power cut cannot leave an empty file either; without it
thousands of small files are written many times faster.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from structkd.errors import WriteError, reason


@contextmanager
def writing(path: Path, was: str = "") -> Iterator[None]:
    """Makes an `OSError` of the block, unless it names another file, a `WriteError` that names `path`.

    Args:
        was: what became of what was there before, for the message.
    """
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        # A full disk shows when a buffer is written, and that error names no file at all.
        named = path if error.filename is None else Path(error.filename)
        if named not in path.parents and named.parent != path.parent:
            raise
        raise WriteError(f"{path} cannot be written ({reason(error)}). {was}".rstrip()) from error


@contextmanager
def atomic_open(path: str | Path, durable: bool = True) -> Iterator[IO[bytes]]:
    """A binary file to write, which takes the name `path` only when the block ends without an error.

    Missing parent folders are made.

    Raises:
        WriteError: the disk is full, or nothing may be written there; what had the name before is as it was.
    """
    path = Path(path)
    # A neighbour, because a rename is atomic only within one file system; the process id keeps two writers apart.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path, "What was there before is as it was."):
        path.parent.mkdir(parents=True, exist_ok=True)
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
        try:
            torch.save(value, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # the writer complains too, when the file could take no more
                raise error.__context__ from None
            raise
    return Path(path)


def load_tensors(path: str | Path, map_location: Any = "cpu") -> Any:
    """`torch.load(path, weights_only=True)` of a file whose bytes agree with its checksums.

    A file of `torch.save` is a zip archive, which holds a CRC-32 of every record; `torch.load` itself never looks at
    them, and takes weights with flipped bits for weights. Files from before PyTorch 1.6 hold none and are only read.

    Raises:
        zipfile.BadZipFile: the bytes are not those that were written. Else as `torch.load`.
    """
    with open(path, "rb") as file:
        archived = file.read(4) == b"PK\x03\x04"
    if archived:
        with zipfile.ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
    return torch.load(path, map_location=map_location, weights_only=True)


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
