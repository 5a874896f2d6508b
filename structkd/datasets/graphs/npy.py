"""`.npy` files larger than memory: mapped for reading, written piece by piece, and unnamed ones for scratch."""

from __future__ import annotations

import math
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.lib import format as npy_format
from torch import Tensor

from structkd.datasets.files import damaged, require_file
from structkd.errors import DataError
from structkd.files import atomic_open


def open_npy(
    path: str | Path,
    dtypes: Sequence[str],
    shape: Sequence[int | None],
    how: str = "",
    held: bool = False,
    by_columns: bool = False,
) -> Tensor:
    """A `.npy` file as a tensor over the mapped file: rows are read from disk when they are used.

    Args:
        path: the file.
        dtypes: numpy names of the types it may have.
        shape: expected sizes, None for any.
        how: what to do where the file is missing; ends the message.
        held: read it into memory instead.
        by_columns: take a matrix that is stored column by column too.

    Returns:
        A tensor that must not be written to: the file is mapped for reading only, so a write is a crash. (A private
        writable mapping would be refused by Linux where the file is larger than memory and swap together.)

    Raises:
        DataError: no such file, cut short, or of another type or shape.
    """
    path = require_file(path, how)
    try:
        array = np.load(path, mmap_mode=None if held else "r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise damaged(path, error, how) from error
    if not isinstance(array, np.ndarray) or array.dtype.name not in dtypes or not array.dtype.isnative:
        raise DataError(
            f"{path} holds {getattr(array, 'dtype', type(array).__name__)}; expected {' or '.join(dtypes)}."
        )
    fits = array.ndim == len(shape) and all(size in (None, own) for size, own in zip(shape, array.shape))
    if not fits or not (array.flags.c_contiguous or by_columns):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise DataError(f"{path} has shape {list(array.shape)}; expected [{wanted}], rows one after another.")
    return _tensor(array)


class NpyWriter:
    """Appends rows to a `.npy` file whose length is not known before it ends.

    Attributes:
        rows: written so far.
    """

    def __init__(self, file: IO[bytes], dtype: str, row: Sequence[int] = ()) -> None:
        self.file, self.dtype, self.row, self.rows = file, np.dtype(dtype), tuple(row), 0
        self._start = file.tell()
        self._header()

    def _header(self) -> None:
        # numpy leaves room in a header for the first size to grow, so that a longer one takes the same place.
        shape = (self.rows, *self.row)
        fields = {"descr": npy_format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        npy_format.write_array_header_1_0(self.file, fields)

    def append(self, rows: np.ndarray | Tensor) -> None:
        """Write further rows, [n, *row]."""
        array = np.ascontiguousarray(rows.numpy() if isinstance(rows, Tensor) else rows, dtype=self.dtype)
        if array.shape[1:] != self.row:
            raise DataError(f"Rows of shape {list(array.shape[1:])} do not fit a file with rows of {list(self.row)}.")
        self.file.write(array.data.cast("B") if array.size else b"")
        self.rows += len(array)

    def finish(self) -> None:
        """Write the true length into the header."""
        body = self.file.tell()
        self.file.seek(self._start)
        self._header()
        self.file.seek(body)


@contextmanager
def writing_npy(path: str | Path, dtype: str, row: Sequence[int] = ()) -> Iterator[NpyWriter]:
    """A `.npy` file to append rows of shape `row` to; it takes its name only when the block ends without an error."""
    with atomic_open(path) as file:
        writer = NpyWriter(file, dtype, row)
        yield writer
        writer.finish()


def scratch(folder: str | Path, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor of zeros over an unnamed file in `folder`, which is gone with the tensor or with the process.

    Its pages go to the disk when memory is short, so it may be larger than memory.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    size = math.prod(shape)
    if size == 0:
        return torch.zeros(*shape, dtype=dtype)
    kind = torch.empty(0, dtype=dtype).numpy().dtype
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            # Space is taken now: a disk that is full would else end the process at some later write.
            os.posix_fallocate(file.fileno(), 0, size * kind.itemsize)
            return _tensor(np.memmap(file, kind, "r+", shape=tuple(shape)))
    except OSError as error:
        raise DataError(
            f"{size * kind.itemsize / 1e9:.3g} GB of scratch space in {folder} are not to be had: {error}."
        ) from error


def _tensor(array: np.ndarray) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
