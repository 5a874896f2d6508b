"""Boxes in JSON, {sample token: [{...}, ...]}, read a column at a time and checked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from structkd.errors import DataError, nearest

Box = Mapping[str, Any]
Check = Callable[[np.ndarray], np.ndarray]


class JsonBoxes:
    """The boxes of all samples as one list.

    Args:
        path: the file, for messages.
        results: sample token -> list of boxes.

    Attributes:
        tokens: [S] samples. boxes: [N] dicts. sample: [N] index into `tokens`.

    Raises:
        DataError: what belongs to a sample is no list of dicts; and, by every method, an entry that is wrong: the
            message names the first box that has one.
    """

    def __init__(self, path: str | Path, results: Mapping[str, Any]) -> None:
        self.path, self.tokens = path, list(results)
        self.boxes: list[Box] = []
        self.sample: list[int] = []
        for index, (token, boxes) in enumerate(results.items()):
            if not isinstance(boxes, list) or not all(isinstance(box, dict) for box in boxes):
                raise DataError(f"{path}: sample {token} holds no list of boxes; expected [{{...}}, ...].")
            self.boxes += boxes
            self.sample += [index] * len(boxes)

    def rows(self) -> list[tuple[str, Box]]:
        """Token and box, for each box."""
        return [(self.tokens[index], box) for index, box in zip(self.sample, self.boxes)]

    def numbers(
        self,
        key: str,
        shape: tuple[int, ...],
        check: Check | None = None,
        expected: str = "finite numbers",
        default: Any = None,
        unknown: bool = False,
    ) -> np.ndarray:
        """[N, *shape] float64 of an entry; `default` where it is left out (None: that is an error).

        Args:
            key, shape: name and shape of the entry.
            check: [N] bool of values: which are right. expected: what it asks for, in words.
            default: see above. unknown: whether NaN is legal.
        """
        values = [box.get(key, default) for box in self.boxes]
        table = _array(values, shape)
        if table is None:
            self.refuse([_array([value], shape) is None for value in values], key, _form(shape))
            raise AssertionError("some entry is of a wrong form")
        wrong = np.isinf(table) if unknown else ~np.isfinite(table)
        self.refuse(wrong.reshape(len(table), math.prod(shape)).any(1), key, "finite numbers")
        if check is not None:
            self.refuse(~check(table), key, expected)
        return table

    def names(self, key: str, options: tuple[str, ...]) -> np.ndarray:
        """[N] int64 index into `options` of an entry."""
        number = {name: index for index, name in enumerate(options)}
        values = [box.get(key) for box in self.boxes]
        found = [number.get(value, -1) if isinstance(value, str) else -1 for value in values]
        if -1 in found:
            value = values[found.index(-1)]
            hint = nearest(value, [name for name in options if name]) if isinstance(value, str) else "a name."
            self.refuse([index < 0 for index in found], key, f"one of the {len(options)} names. {hint}")
        return np.array(found, dtype=np.int64)

    def refuse(self, wrong: Any, key: str, expected: str) -> None:
        """Raise if any of `wrong` [N] is true: `key` is not as `expected` there."""
        wrong = np.asarray(wrong, dtype=bool)
        if not wrong.any():
            return
        row = int(wrong.argmax())
        token, position = self.tokens[self.sample[row]], row - self.sample.index(self.sample[row])
        box = self.boxes[row]
        has = f"has {key} {json.dumps(box[key])[:60]}" if key in box else f"has no {key}"
        raise DataError(
            f"{self.path}: box {position} of sample {token[:60]} {has}; expected {expected.rstrip('.')}. "
            f"{int(wrong.sum())} of {len(self.boxes)} boxes are affected."
        )


def _array(values: list[Any], shape: tuple[int, ...]) -> np.ndarray | None:
    """[N, *shape] float64, or None if the values are not numbers in that shape."""
    if not values:
        return np.empty((0, *shape))
    try:
        table = np.array(values)
    except (ValueError, OverflowError):
        return None
    return table.astype(np.float64) if table.dtype.kind in "iuf" and table.shape == (len(values), *shape) else None


def positive(sizes: np.ndarray) -> np.ndarray:
    """[N] bool of sizes [N, 3]."""
    return np.all(sizes > 0, axis=1)


def turns(rotations: np.ndarray) -> np.ndarray:
    """[N] bool of quaternions [N, 4]: those of any length but 0."""
    return np.any(rotations != 0, axis=1)


def _form(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} numbers" if shape else "a number"
