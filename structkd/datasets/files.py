"""Reading files that a person may not have, or have only half of."""

from __future__ import annotations

from pathlib import Path

from structkd.errors import DataError, reason


def require_file(path: str | Path, how: str) -> Path:
    """The path, if there is a file; else a `DataError` that names it and says how to get it."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no file {path}. {how}".rstrip())
    return path


def damaged(path: Path, error: Exception, how: str = "") -> DataError:
    """The error for a file that is there but cannot be read."""
    return DataError(
        f"{path} cannot be read ({reason(error)}): it is damaged, cut short or of another format. {how}".rstrip()
    )
