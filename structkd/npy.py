"""`.npy` files that grow: written row by row, of a length that is not known before they end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy_format
from torch import Tensor

from structkd.errors import DataError
from structkd.files import atomic_open


class NpyWriter:
    """Appends rows to a `.npy` file.

    Args:
        file: open for writing bytes, and empty unless `rows` are there.
        dtype: NumPy name of the type.
        row: shape of a row.
        rows: that are there already; what follows them in the file is cut off.

    Attributes:
        rows: written so far.
    """

    def __init__(self, file: IO[bytes], dtype: str, row: Sequence[int] = (), rows: int = 0) -> None:
        self.file, self.dtype, self.row, self.rows = file, np.dtype(dtype), tuple(row), rows
        self.row_bytes = self.dtype.itemsize * math.prod(self.row)
        self._header()
        self.file.truncate(self.file.tell() + rows * self.row_bytes)
        self.file.seek(0, 2)

    def append(self, rows: np.ndarray | Tensor) -> None:
        """Write further rows, [n, *row].

        Raises:
            DataError: rows of another shape.
        """
        array = np.ascontiguousarray(rows.numpy() if isinstance(rows, Tensor) else rows, dtype=self.dtype)
        if array.shape[1:] != self.row:
            raise DataError(f"Rows of shape {list(array.shape[1:])} do not fit a file with rows of {list(self.row)}.")
        self.file.write(array.data.cast("B") if array.size else b"")
        self.rows += len(array)

    def finish(self) -> None:
        """Write the true length into the header; further rows may follow."""
        self._header()
        self.file.seek(0, 2)

    def _header(self) -> None:
        # NumPy leaves room in a header for the first size to grow, so that a longer one takes the same place.
        self.file.seek(0)
        shape = (self.rows, *self.row)
        fields = {"descr": npy_format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        npy_format.write_array_header_1_0(self.file, fields)


@contextmanager
def writing_npy(path: str | Path, dtype: str, row: Sequence[int] = ()) -> Iterator[NpyWriter]:
    """A `.npy` file to append rows of shape `row` to; it takes its name only when the block ends without an error."""
    with atomic_open(path) as file:
        writer = NpyWriter(file, dtype, row)
        yield writer
        writer.finish()
