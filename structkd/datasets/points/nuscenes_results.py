"""nuScenes' submission files: {"meta": {...}, "results": {sample token: [box, ...]}}, read with an eye on errors.

The same format, with further entries, holds labels where the tables of the dataset are not at hand: each box may have
`num_pts` (points of LiDAR and radar in it) and `ego_translation` (its place relative to the vehicle), and beside
"results" there may be "ego_poses" {sample token: [x, y, z]} and "bicycle_racks" {sample token: [box, ...]}.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from structkd.datasets.atomic import write_whole
from structkd.errors import DataError, nearest, reason
from structkd.evaluation.nuscenes import ATTRIBUTES, CLASSES, NuScenesBoxes

Box = Mapping[str, Any]
Check = Callable[[np.ndarray], np.ndarray]


def read_nuscenes_results(path: str | Path) -> NuScenesBoxes:
    """A detector's submission.

    Raises:
        DataError: a missing file, one that is no JSON of that form, a box that lacks an entry or has one of a wrong
            type, size or value; the message names the sample and the box.
    """
    return _boxes(path, _content(path)["results"], scored=True)


def read_nuscenes_labels(path: str | Path) -> NuScenesBoxes:
    """Labels in the submission format, see the top of this module.

    Where the vehicle is comes from "ego_poses", or else from the boxes' `ego_translation`. If the file has neither,
    no box is too far to be evaluated.

    Raises:
        DataError: as `read_nuscenes_results`; a sample whose ego pose is not known while others' are.
    """
    content = _content(path)
    boxes = _boxes(path, content["results"], scored=False)
    ego = _ego(path, content, boxes)
    racks, rack_sample = _racks(path, content.get("bicycle_racks", {}), boxes.samples)
    per_box = {name: getattr(boxes, name) for name in ("sample", "label", "center", "size", "rotation", "velocity")}
    return NuScenesBoxes(
        boxes.samples,
        **per_box,
        attribute=boxes.attribute,
        num_points=boxes.num_points,
        ego=ego,
        racks=racks,
        rack_sample=rack_sample,
    )


def write_nuscenes_boxes(path: str | Path, boxes: NuScenesBoxes, meta: Mapping[str, Any] | None = None) -> Path:
    """Write a submission, or a file of labels if there are no scores; numbers read back as they were.

    Args:
        path: the file; the folder is made.
        boxes: what to write.
        meta: the entry "meta" of a submission; by default LiDAR alone.
    """
    meta = meta or dict(use_camera=False, use_lidar=True, use_radar=False, use_map=False, use_external=False)
    results: dict[str, list[dict[str, Any]]] = {token: [] for token in boxes.samples}
    columns = (boxes.center.tolist(), boxes.size.tolist(), boxes.rotation.tolist(), boxes.velocity.tolist())
    for row, (center, size, rotation, velocity) in enumerate(zip(*columns)):
        token, attribute = boxes.samples[boxes.sample[row]], int(boxes.attribute[row])
        box = dict(
            sample_token=token,
            translation=center,
            size=size,
            rotation=rotation,
            velocity=velocity,
            detection_name=CLASSES[boxes.label[row]],
            attribute_name=ATTRIBUTES[attribute] if attribute >= 0 else "",
        )
        if boxes.score is not None:
            box["detection_score"] = float(boxes.score[row])
        if boxes.num_points is not None:
            box["num_pts"] = int(boxes.num_points[row])
        results[token].append(box)
    content: dict[str, Any] = {"meta": meta, "results": results}
    if boxes.ego is not None:
        content["ego_poses"] = dict(zip(boxes.samples, boxes.ego.tolist()))
    if boxes.racks is not None and boxes.rack_sample is not None:
        racks: dict[str, list[dict[str, Any]]] = {}
        for sample, rack in zip(boxes.rack_sample, boxes.racks.tolist()):
            entry = dict(translation=rack[:3], size=rack[3:6], rotation=rack[6:])
            racks.setdefault(boxes.samples[sample], []).append(entry)
        content["bicycle_racks"] = racks
    return write_whole(path, json.dumps(content))


def _content(path: str | Path) -> dict[str, Any]:
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no file {path}.")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # also what is not UTF-8
        raise DataError(f"{path} is no JSON file ({reason(error)}).") from error
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict):
        raise DataError(f'{path} has no "results"; expected {{"meta": ..., "results": {{sample token: [box, ...]}}}}.')
    return content


def _boxes(path: str | Path, results: Mapping[str, Any], scored: bool) -> NuScenesBoxes:
    table = _Table(path, results)
    table.refuse([box.get("sample_token") != token for token, box in table.rows()], "sample_token", "its sample's")
    scores = table.numbers("detection_score", (), lambda values: values >= 0, "0 or more") if scored else None
    with_points = not scored and any("num_pts" in box for box in table.boxes)
    points = table.numbers("num_pts", (), lambda values: values >= -1, "a count", -1) if with_points else None
    return NuScenesBoxes(
        tuple(results),
        np.array(table.sample, dtype=np.int64),
        table.names("detection_name", CLASSES),
        table.numbers("translation", (3,)),
        table.numbers("size", (3,), _positive, "a positive width, length and height"),
        table.numbers("rotation", (4,), _turns, "a quaternion other than 0"),
        table.numbers("velocity", (2,), unknown=True),
        table.names("attribute_name", ("", *ATTRIBUTES)) - 1,
        scores,
        None if points is None else points.astype(np.int64),
    )


def _ego(path: str | Path, content: Mapping[str, Any], boxes: NuScenesBoxes) -> np.ndarray | None:
    """[S, 3] places of the vehicle, or None if the file says nothing of them."""
    if "ego_poses" in content:
        poses = content["ego_poses"]
        if not isinstance(poses, dict):
            raise DataError(f'{path}: "ego_poses" is a {type(poses).__name__}; expected {{sample token: [x, y, z]}}.')
        if missing := [token for token in boxes.samples if token not in poses]:
            raise DataError(f'{path}: "ego_poses" lacks {len(missing)} samples, the first {missing[0]}.')
        entries = {token: [{"ego_poses": poses[token]}] for token in boxes.samples}
        return _Table(path, entries).numbers("ego_poses", (3,))
    table = _Table(path, content["results"])
    given = np.array(["ego_translation" in box for box in table.boxes], dtype=bool)
    if not given.any():
        return None
    away = table.numbers("ego_translation", (3,), default=(0, 0, 0))
    ego = np.full((len(boxes.samples), 3), np.nan)
    ego[boxes.sample[given]] = (boxes.center - away)[given]
    if np.isnan(ego).any():
        token = boxes.samples[int(np.isnan(ego).any(1).argmax())]
        raise DataError(
            f"{path}: sample {token} has no box with ego_translation, which tells where the vehicle is; add "
            '"ego_poses": {sample token: [x, y, z]} to the file.'
        )
    return ego


def _racks(path: str | Path, racks: Any, samples: tuple[str, ...]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Bicycle racks [R, 10] and their samples [R]; None for both if there are none."""
    if not isinstance(racks, dict):
        raise DataError(f'{path}: "bicycle_racks" is a {type(racks).__name__}; expected {{sample token: [box, ...]}}.')
    if unknown := [token for token in racks if token not in set(samples)]:
        raise DataError(f'{path}: "bicycle_racks" names sample {unknown[0]}, which is not in "results".')
    table, number = _Table(path, racks), {token: index for index, token in enumerate(samples)}
    if not table.boxes:
        return None, None
    rows = [
        table.numbers("translation", (3,)),
        table.numbers("size", (3,), _positive, "a positive width, length and height"),
        table.numbers("rotation", (4,), _turns, "a quaternion other than 0"),
    ]
    return np.concatenate(rows, axis=1), np.array([number[table.tokens[i]] for i in table.sample])


class _Table:
    """The boxes of all samples as one list, read a column at a time."""

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


def _positive(sizes: np.ndarray) -> np.ndarray:
    return np.all(sizes > 0, axis=1)


def _turns(rotations: np.ndarray) -> np.ndarray:
    return np.any(rotations != 0, axis=1)


def _form(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} numbers" if shape else "a number"
