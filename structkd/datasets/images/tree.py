"""Files below a folder, or inside an archive that is read without being unpacked."""

from __future__ import annotations

import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from structkd.datasets.files import damaged
from structkd.errors import DataError

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")


class Tree:
    """Files by their name below some folder, with forward slashes.

    Args:
        base: the folder, or the archive and the folder inside it; for errors.
        files: name -> where the file lies, or what it holds.
        folders: names of all folders, empty ones too (an archive may leave them out).
    """

    def __init__(self, base: str, files: Mapping[str, Path | bytes], folders: set[str]) -> None:
        self.base, self._files, self.folders = base, dict(sorted(files.items())), folders

    @property
    def names(self) -> list[str]:
        """Names of the files, in order."""
        return list(self._files)

    def where(self, name: str) -> str:
        """What an error calls a file."""
        return f"{self.base}/{name}"

    def read(self, name: str) -> bytes:
        """What a file holds; `DataError` where there is none of that name."""
        content = self._files.get(name)
        if content is None:
            raise DataError(f"There is no file {self.where(name)}.")
        try:
            return content if isinstance(content, bytes) else content.read_bytes()
        except OSError as error:
            raise damaged(Path(self.where(name)), error) from error


def open_tree(root: str | Path, part: str = "", keep: Callable[[str], bool] = lambda name: True) -> Tree:
    """The files below `root/part`, or below `root/*/part` where one folder lies around everything, as in many archives.

    An archive is read through once; the files that are kept stay in memory as they are stored (a JPEG as a JPEG).

    Args:
        root: a folder, or a .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz or .zip archive.
        part: a folder in it, "" for all of it.
        keep: name below `part` -> whether the file is wanted.

    Raises:
        DataError: a missing root or part, a damaged archive.
    """
    root = Path(root)
    if root.is_dir():
        return _folder(root, part, keep)
    if not root.is_file():
        raise DataError(f"There is no folder or archive {root}.")
    if not root.name.endswith(ARCHIVES):
        raise DataError(f"{root} is neither a folder nor an archive; expected one of {', '.join(ARCHIVES)}.")
    return _archive(root, part, keep)


def _folder(root: Path, part: str, keep: Callable[[str], bool]) -> Tree:
    base = root / part
    if not base.is_dir():
        inside = [path / part for path in sorted(root.iterdir()) if (path / part).is_dir()]
        if len(inside) != 1:
            raise _no_part(root, part, [path.name for path in sorted(root.iterdir()) if path.is_dir()])
        base = inside[0]
    files: dict[str, Path | bytes] = {}
    folders = set()
    for folder, subfolders, names in os.walk(base):
        here = Path(folder).relative_to(base)
        folders |= {(here / name).as_posix() for name in subfolders}
        for name in names:
            if keep(relative := (here / name).as_posix()):
                files[relative] = Path(folder, name)
    return Tree(str(base), files, folders)


def _archive(root: Path, part: str, keep: Callable[[str], bool]) -> Tree:
    # What lies below `part`, by the folder around it: "" where there is none.
    found: dict[str, tuple[dict[str, Path | bytes], set[str]]] = {}
    tops = set()
    try:
        for name, read in _members(root):
            parts = PurePosixPath(name).parts
            tops |= set(parts[:1])
            below = _depth(parts, part)
            if below is None:
                continue
            files, folders = found.setdefault("/".join(parts[: below - 1]) if below else "", ({}, set()))
            folders |= {"/".join(parts[below:end]) for end in range(below + 1, len(parts) + (read is None))}
            relative = "/".join(parts[below:])
            if read is not None and keep(relative):
                files[relative] = read()
    except (
        OSError,
        EOFError,
        ValueError,
        zlib.error,
        lzma.LZMAError,
        tarfile.TarError,
        zipfile.BadZipFile,
        RuntimeError,
    ) as error:
        raise damaged(root, error) from error
    if "" not in found and len(found) != 1:
        raise _no_part(root, part, sorted(tops))
    around = "" if "" in found else next(iter(found))
    return Tree(f"{root}:{around}/{part}".replace(":/", ":").rstrip(":/"), *found[around])


def _depth(parts: tuple[str, ...], part: str) -> int | None:
    """How many of the parts of a name lead to what lies below `part`; None where it lies elsewhere."""
    if not part:
        return 0
    return 1 if parts[:1] == (part,) else 2 if parts[1:2] == (part,) else None


def _members(root: Path) -> Iterator[tuple[str, Callable[[], bytes] | None]]:
    """Name of each member, and how it is read; None for a folder. Links and devices are left out."""
    if root.suffix == ".zip":
        with zipfile.ZipFile(root) as archive:
            for entry in archive.infolist():
                if entry.filename.startswith("__MACOSX/"):
                    continue
                yield entry.filename, None if entry.is_dir() else lambda entry=entry: archive.read(entry)  # type: ignore[misc]
        return
    with tarfile.open(root, "r:*") as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if member.isdir():
                yield name, None
            elif member.isfile():
                yield name, lambda member=member: archive.extractfile(member).read()  # type: ignore[misc,union-attr]
        _check_end(archive)


def _check_end(archive: tarfile.TarFile) -> None:
    """`tarfile` takes a header it cannot read for the end, and would lose what follows without a word."""
    stream: Any = archive.fileobj
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise EOFError("no mark of its end")
    while stream.read(1 << 20):  # up to the checksum of a compressed one
        pass


def _no_part(root: Path, part: str, there: list[str]) -> DataError:
    found = f"{', '.join(there[:10])}{', ...' if len(there) > 10 else ''}" if there else "nothing"
    return DataError(f"{root} has no folder '{part}', or several; at its top there is {found}.")
