"""`.npy` files larger than memory, mapped for reading, and unnamed ones for scratch."""

from __future__ import annotations

import math
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from structkd.datasets.files import damaged, require_file
from structkd.errors import DataError


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
