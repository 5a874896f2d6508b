"""Tables that grow on the disk row by row: plain `.npy` files, with a checksum for every shard of their rows.

A shard is a run of rows of one file, so that a table is written while it is computed, is taken up again after its last
whole shard, and is still one array to whoever maps it into memory, however large it is.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from structkd.errors import CheckpointError, DataError, reason
from structkd.files import writing
from structkd.npy import NpyWriter

#: Bytes after which a shard ends.
SHARD_BYTES = 64 * 2**20


class StaleCacheError(CheckpointError):
    """Stored outputs that have to be computed again: missing, damaged, or not of the model that is asked for."""


#: Files whose bytes this process has compared with their checksums, by what changes when they are written again.
_VERIFIED: set[tuple[Any, ...]] = set()


def table_record(array: np.ndarray, kind: str) -> dict[str, Any]:
    """The record of a table without rows, for rows like those of `array`. `kind` is "rows" where each part of the
    outputs brings further ones, "whole" where the first brings all, "scalar" where it is one number."""
    row_shape = [] if kind == "scalar" else list(array.shape[1:])
    return {"kind": kind, "dtype": str(array.dtype), "shape": [0, *row_shape], "shards": []}


class TableWriter:
    """A table while it is written.

    Args:
        path: of the `.npy` file.
        record: `kind`, `dtype`, `shape` and `shards`, which are pairs: number of rows, CRC-32 of their bytes. Without
            shards the file is made anew; else these were written by an interrupted process, and it goes on behind them.
        shard_bytes: after which a shard ends.

    Raises:
        WriteError: the disk is full.
    """

    def __init__(self, path: Path, record: Mapping[str, Any], shard_bytes: int = SHARD_BYTES) -> None:
        self.path, self.kind, self.shard_bytes = path, record["kind"], shard_bytes
        self.shards = [list(shard) for shard in record["shards"]]
        self._rows = self._crc = 0
        with writing(path):
            if not self.shards:  # whoever has mapped an older table keeps that: this is another file of the same name
                path.unlink(missing_ok=True)
            self.file: IO[bytes] = path.open("r+b" if self.shards else "wb")
            self.npy = NpyWriter(self.file, record["dtype"], record["shape"][1:], self.rows)

    @property
    def rows(self) -> int:
        """Number of rows in finished shards."""
        return sum(rows for rows, _ in self.shards)

    @property
    def record(self) -> dict[str, Any]:
        """What is needed to go on, or to check the table."""
        shape = [self.rows, *self.npy.row]
        return {"kind": self.kind, "dtype": str(self.npy.dtype), "shape": shape, "shards": self.shards}

    def append(self, array: np.ndarray) -> None:
        """Write rows; [n, *row_shape], or one number into a table of kind "scalar".

        Raises:
            DataError: rows of another shape or type. WriteError: the disk is full.
        """
        if self.kind == "scalar":
            array = array.reshape(1)
        if array.shape[1:] != self.npy.row or array.dtype != self.npy.dtype:
            raise DataError(
                f"{self.path}: the table has rows of {self.npy.dtype} {list(self.npy.row)}, "
                f"but a later part brings {array.dtype} {list(array.shape[1:])}."
            )
        row_bytes = self.npy.row_bytes
        while len(array):
            room = max(1, (self.shard_bytes - self._rows * row_bytes) // max(1, row_bytes))
            rows, array = np.ascontiguousarray(array[:room]), array[room:]
            with writing(self.path):
                self.npy.append(rows)
            self._crc, self._rows = zlib.crc32(rows.data, self._crc), self._rows + len(rows)
            if self._rows * row_bytes >= self.shard_bytes:
                self._seal()

    def save(self) -> None:
        """End the shard and bring the file to the disk, so that `record` describes what is there."""
        self._seal()
        with writing(self.path):
            self.npy.finish()
            self.file.flush()
            os.fsync(self.file.fileno())

    def close(self) -> None:
        """Close the file; what was not saved may be lost."""
        with writing(self.path):
            self.file.close()

    def _seal(self) -> None:
        if self._rows:
            self.shards.append([self._rows, self._crc])
        self._rows = self._crc = 0


def open_table(path: Path, record: Mapping[str, Any]) -> np.ndarray:
    """A table, mapped into memory copy-on-write, as `record` describes it.

    The bytes are compared with the checksums when a process opens them for the first time.

    Raises:
        StaleCacheError: a file that is missing, is cut short, or holds anything else.
    """
    try:
        array = _mapped(path)
        status = path.stat()
    except Exception as error:  # a damaged header can raise anything: it is parsed as Python's
        raise StaleCacheError(f"{path} is missing or damaged ({reason(error)}).") from error
    rows, *row_shape = record["shape"]
    if list(array.shape[1:]) != row_shape or len(array) < rows or str(array.dtype) != record["dtype"]:
        raise StaleCacheError(
            f"{path} holds {array.dtype} {list(array.shape)}; its record says {record['dtype']} {record['shape']}."
        )
    array = array[:rows]
    seen = (str(path), status.st_ino, status.st_size, status.st_mtime_ns, str(record["shards"]))
    if seen not in _VERIFIED:
        start = 0
        for number, (count, crc) in enumerate(record["shards"]):
            if zlib.crc32(np.ascontiguousarray(array[start : start + count]).data) != crc:
                raise StaleCacheError(f"{path} is damaged: the checksum of shard {number} is wrong.")
            start += count
        _VERIFIED.add(seen)
    return array.reshape(()) if record["kind"] == "scalar" else array


def _mapped(path: Path) -> np.ndarray:
    """Copy-on-write, so that nobody who writes into it changes the file; read-only where the table is larger than
    memory and swap, for which Linux promises no copies."""
    try:
        return np.load(path, mmap_mode="c", allow_pickle=False)
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        return np.load(path, mmap_mode="r", allow_pickle=False)
