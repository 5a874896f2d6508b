"""The files of the KITTI object benchmark, read with an eye on what may be wrong with them.

Every error names the file, the line or the byte, and what was expected there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from structkd.errors import DataError
from structkd.evaluation.kitti.objects import COLUMNS, UNKNOWN, KittiObjects

#: Tolerance of a rotation written with a few digits.
ORTHOGONAL = 1e-3


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a frame's calibration file says.

    Attributes:
        projection: [3, 4] P2, from the rectified camera frame to the pixels of the left colour image.
        lidar_to_camera: [4, 4] from the LiDAR frame (x ahead, y left, z up) to the rectified camera frame
            (x right, y down, z ahead), in metres: R0_rect times Tr_velo_to_cam.
    """

    projection: np.ndarray
    lidar_to_camera: np.ndarray


def read_labels(path: str | Path) -> KittiObjects:
    """A file of `label_2`: 15 columns, no score.

    DontCare rows get the object benchmark's filling (see `UNKNOWN`) whatever stands there: the tracking benchmark
    orders theirs differently, which the official evaluation then takes for boxes.

    Raises:
        DataError: a missing file, a line of another length, a cell that is no finite number, a 2D box whose corners
            are swapped, an object whose size is not positive.
    """
    objects, lines = _read_objects(Path(path), scored=False)
    dont_care = objects.dont_care
    objects.rows[dont_care, :3], objects.rows[dont_care, 7:] = UNKNOWN[:3], UNKNOWN[7:]
    sizes = objects.rows[:, 7:10]
    _refuse(path, lines, np.any(sizes <= 0, axis=1) & ~dont_care, sizes, "a positive height, width and length")
    return objects


def read_results(path: str | Path) -> KittiObjects:
    """A detector's result file: the columns of a label and a score.

    A box of size -1, -1, -1 says that the detector gives none; a side of 0 is kept, and overlaps nothing.

    Raises:
        DataError: as `read_labels`, but only for negative sizes.
    """
    objects, lines = _read_objects(Path(path), scored=True)
    sizes = objects.rows[:, 7:10]
    negative = np.any((sizes < 0) & np.any(sizes != -1, axis=1, keepdims=True), axis=1)
    _refuse(path, lines, negative, sizes, "a height, width and length of 0 or more (or -1 -1 -1)")
    return objects


def write_objects(path: str | Path, objects: KittiObjects) -> None:
    """Write a label file, or a result file if there are scores; read back, numbers agree to 4 decimals."""
    Path(path).write_text(format_objects(objects))


def format_objects(objects: KittiObjects) -> str:
    """The text of a label file, or of a result file if there are scores."""
    lines = []
    for i, (name, row) in enumerate(zip(objects.type, objects.rows)):
        line = f"{name} {row[0]:.2f} {row[1]:.0f} " + " ".join(f"{value:.4f}" for value in row[2:])
        lines.append(line if objects.score is None else f"{line} {objects.score[i]:.6f}")
    return "".join(f"{line}\n" for line in lines)


def read_points(path: str | Path, columns: int = 4) -> np.ndarray:
    """A `velodyne` scan: [N, columns] float32, for KITTI x, y, z in metres and reflectance from 0 to 1.

    Raises:
        DataError: a missing file, one cut within a point, a point that is not finite. A scan without points is legal.
    """
    path = _existing(path)
    data = path.read_bytes()
    if len(data) % (4 * columns):
        raise DataError(
            f"{path} has {len(data)} bytes; expected a multiple of {4 * columns}, {columns} float32 numbers a point. "
            "It was cut short or is no scan."
        )
    points = np.frombuffer(data, dtype="<f4").reshape(-1, columns).astype(np.float32)
    finite = np.all(np.isfinite(points), axis=1)
    if not finite.all():
        first = int(finite.argmin())
        raise DataError(
            f"{path} holds {int((~finite).sum())} points that are not finite, the first at row {first} "
            f"({_cells(points[first])}); expected numbers."
        )
    return points


def read_calibration(path: str | Path) -> Calibration:
    """A file of `calib`: lines `name: numbers`; P2, R0_rect and Tr_velo_to_cam are needed, others are not looked at.

    Raises:
        DataError: a missing file or entry, a wrong count, a cell that is no finite number, a rotation that is none.
    """
    path = _existing(path)
    shapes = {"P2": (3, 4), "R0_rect": (3, 3), "Tr_velo_to_cam": (3, 4)}
    found: dict[str, np.ndarray] = {}
    for number, line in _lines(path):
        name, _, rest = line.partition(":")
        if name not in shapes:
            continue
        rows, columns = shapes[name]
        cells = rest.split()
        if len(cells) != rows * columns:
            raise DataError(f"{path}, line {number}: {name} has {len(cells)} numbers; expected {rows * columns}.")
        found[name] = _numbers(path, [number], [cells], [name] * len(cells))[0].reshape(rows, columns)
        rotation = found[name][:, :3]
        turns = np.allclose(rotation @ rotation.T, np.eye(3), atol=ORTHOGONAL) and np.linalg.det(rotation) > 0
        if name != "P2" and not turns:
            raise DataError(f"{path}, line {number}: {name} is no rotation ({_cells(rotation.ravel())}).")
    if missing := [name for name in shapes if name not in found]:
        raise DataError(f"{path} has no line {', '.join(missing)}; expected P2, R0_rect and Tr_velo_to_cam.")
    rectify, move = np.eye(4), np.eye(4)
    rectify[:3, :3], move[:3] = found["R0_rect"], found["Tr_velo_to_cam"]
    return Calibration(found["P2"], rectify @ move)


def read_split(path: str | Path) -> list[str]:
    """A split file: one frame id (such as 000042) a line, none twice.

    Raises:
        DataError: a missing or empty file, a line that is no id, a repeated id.
    """
    path = _existing(path)
    first: dict[str, int] = {}
    for number, line in _lines(path):
        frame = line.strip()
        if not frame.replace("_", "").replace("-", "").isalnum():
            raise DataError(f"{path}, line {number} is '{frame[:40]}'; expected one frame id, such as 000042.")
        if frame in first:
            raise DataError(f"{path}, line {number} repeats frame {frame} of line {first[frame]}.")
        first[frame] = number
    if not first:
        raise DataError(f"{path} is empty; expected one frame id a line.")
    return list(first)


def _read_objects(path: Path, scored: bool) -> tuple[KittiObjects, list[int]]:
    path = _existing(path)
    names = [*COLUMNS, "score"] if scored else [*COLUMNS]
    types, numbers, table = [], [], []
    for number, line in _lines(path):
        name, *cells = line.split()
        if len(cells) != len(names):
            raise DataError(
                f"{path}, line {number} has {len(cells) + 1} columns; a "
                f"{'result has 16, the last its score' if scored else 'label has 15'}: type, {', '.join(names)}."
            )
        types.append(name)
        numbers.append(number)
        table.append(cells)
    values = _numbers(path, numbers, table, names)
    objects = KittiObjects(np.array(types, dtype=np.str_), values[:, : len(COLUMNS)], values[:, -1] if scored else None)
    boxes = objects.image_boxes
    _refuse(
        path,
        numbers,
        np.any(boxes[:, :2] > boxes[:, 2:], axis=1),
        boxes,
        "a 2D box x1, y1, x2, y2 with x1 <= x2, y1 <= y2",
    )
    return objects, numbers


def _numbers(path: Path, lines: list[int], table: list[list[str]], names: Sequence[str]) -> np.ndarray:
    """The cells as [rows, columns] float64; the first one that is no finite number is an error with its place."""
    try:
        values = np.array([[float(cell) for cell in row] for row in table]).reshape(-1, len(names))
        if np.isfinite(values).all():
            return values
    except ValueError:
        pass
    for line, row in zip(lines, table):
        for name, cell in zip(names, row):
            if not _is_finite(cell):
                raise DataError(f"{path}, line {line}: {name} is '{cell[:40]}'; expected a finite number.")
    raise AssertionError("some cell is no finite number")


def _is_finite(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


def _refuse(path: str | Path, lines: list[int], wrong: np.ndarray, values: np.ndarray, expected: str) -> None:
    if wrong.any():
        first = int(wrong.argmax())
        raise DataError(f"{path}, line {lines[first]} has {_cells(values[first])}; expected {expected}.")


def _cells(values: np.ndarray) -> str:
    return " ".join(f"{value:g}" for value in values)


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no file {path}.")
    return path


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text file: byte {error.start} is not UTF-8.") from error
    return [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
