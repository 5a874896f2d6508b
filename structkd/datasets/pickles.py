"""Pickles of plain values and numpy arrays, read without running what they hold.

`pickle.load` runs any code that a file asks for; the files of datasets need containers, numbers, text and numpy arrays
only, so nothing else is let in.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Collection
from pathlib import Path
from typing import Any

from structkd.errors import DataError, reason

_ARRAYS = {
    f"{package}.{name}"
    for package in ("numpy.core", "numpy._core")
    for name in ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
}
_BUILTINS = {f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("set", "bytes", "bytearray")}
#: All that a file may name; none of them runs code of the file.
ALLOWED = {"numpy.ndarray", "numpy.dtype", "_codecs.encode", *_BUILTINS, *_ARRAYS}


class _Forbidden(pickle.UnpicklingError):
    """The file names something that is not in `ALLOWED`."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, encoding: str, more: Collection[str]) -> None:
        super().__init__(io.BytesIO(content), encoding=encoding)
        self._more = more

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in ALLOWED and f"{module}.{name}" not in self._more:
            raise _Forbidden(f"{module}.{name}")
        if module in ("scipy.sparse.csr", "scipy.sparse._csr"):
            module = "scipy.sparse"  # its home of many versions; where it lies has been moved
        return super().find_class(module.replace("numpy._core", "numpy.core") if _old_numpy() else module, name)


def _old_numpy() -> bool:
    """numpy 1.x has no `numpy._core`; numpy 2 still knows both names."""
    import numpy as np

    return int(np.__version__.split(".")[0]) < 2


def read_pickle(path: str | Path) -> Any:
    """What a pickle of containers, numbers, text and numpy arrays holds.

    Raises:
        DataError: a missing or damaged file, or one that names anything else (the message says what).
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no file {path}.")
    return plain_pickle(path.read_bytes(), path)


def plain_pickle(content: bytes, path: str | Path, encoding: str = "ASCII", more: Collection[str] = frozenset()) -> Any:
    """What the bytes of a pickle hold, see `read_pickle`.

    Args:
        path: where they are from, for the errors.
        encoding: of the text in pickles of Python 2: "latin1" for those that hold arrays.
        more: further names that the file may ask for; of classes only that run nothing of the file when they are made.

    Raises:
        DataError: a missing or damaged file, or one that names anything else (the message says what).
    """
    try:
        return _Unpickler(content, encoding, more).load()
    except _Forbidden as error:
        raise DataError(
            f"{path} asks for {reason(error)}, which is neither plain data nor a numpy array; it was not loaded."
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{path} is no readable pickle ({reason(error)}): it is damaged or cut short.") from error
