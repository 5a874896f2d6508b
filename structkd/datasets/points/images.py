"""How large a picture is, from the first bytes of its file: nothing is decoded."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from structkd.errors import DataError

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"
#: Start of frame, which holds the size, except for three markers of that range that mean something else.
_SIZES = {marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC)}
#: Markers that stand alone, without a length.
_ALONE = {0x01, *range(0xD0, 0xD9)}


def image_size(path: str | Path) -> tuple[int, int]:
    """Width and height in pixels of a PNG or JPEG file.

    Raises:
        DataError: a missing file, one of another format, one cut before its size.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no file {path}.")
    with path.open("rb") as file:
        start = file.read(24)
        if start[:8] == PNG and start[12:16] == b"IHDR" and len(start) == 24:
            width, height = struct.unpack(">II", start[16:])
        elif start[:2] == JPEG:
            file.seek(2)
            width, height = _jpeg_size(file)
        else:
            width = height = 0
    if width < 1 or height < 1:
        raise DataError(f"{path} is no PNG or JPEG picture with a size, or is cut short.")
    return width, height


def _jpeg_size(file: BinaryIO) -> tuple[int, int]:
    """Goes from segment to segment; 0, 0 where the file ends before its size or is no JPEG."""
    while head := file.read(1):
        if head != b"\xff":
            break
        while (marker := file.read(1)) == b"\xff":
            pass
        if not marker or marker[0] in (0xD9, 0xDA):
            break
        if marker[0] in _ALONE:
            continue
        length = file.read(2)
        if len(length) < 2 or (size := struct.unpack(">H", length)[0]) < 2:
            break
        if marker[0] in _SIZES:
            body = file.read(5)
            if len(body) < 5:
                break
            height, width = struct.unpack(">HH", body[1:])
            return width, height
        file.seek(size - 2, 1)
    return 0, 0
