"""nuScenes' submission files: {"meta": {...}, "results": {sample token: [box, ...]}}, read with an eye on errors.

The same format, with further entries, holds labels where the tables of the dataset are not at hand: each box may have
`num_pts` (points of LiDAR and radar in it) and `ego_translation` (its place relative to the vehicle), and beside
"results" there may be "ego_poses" {sample token: [x, y, z]} and "bicycle_racks" {sample token: [box, ...]}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from structkd.datasets.points.json_boxes import JsonBoxes, positive, turns
from structkd.errors import DataError, reason
from structkd.evaluation.nuscenes import ATTRIBUTES, CLASSES, NuScenesBoxes
from structkd.files import atomic_write_text


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
    return replace(boxes, ego=ego, racks=racks, rack_sample=rack_sample)


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
    return atomic_write_text(path, json.dumps(content), durable=False)


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
    table = JsonBoxes(path, results)
    table.refuse([box.get("sample_token") != token for token, box in table.rows()], "sample_token", "its sample's")
    scores = table.numbers("detection_score", (), lambda values: values >= 0, "0 or more") if scored else None
    with_points = not scored and any("num_pts" in box for box in table.boxes)
    points = table.numbers("num_pts", (), lambda values: values >= -1, "a count", -1) if with_points else None
    return NuScenesBoxes(
        tuple(results),
        np.array(table.sample, dtype=np.int64),
        table.names("detection_name", CLASSES),
        table.numbers("translation", (3,)),
        table.numbers("size", (3,), positive, "a positive width, length and height"),
        table.numbers("rotation", (4,), turns, "a quaternion other than 0"),
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
        return JsonBoxes(path, entries).numbers("ego_poses", (3,))
    table = JsonBoxes(path, content["results"])
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
    table, number = JsonBoxes(path, racks), {token: index for index, token in enumerate(samples)}
    if not table.boxes:
        return None, None
    rows = [
        table.numbers("translation", (3,)),
        table.numbers("size", (3,), positive, "a positive width, length and height"),
        table.numbers("rotation", (4,), turns, "a quaternion other than 0"),
    ]
    return np.concatenate(rows, axis=1), np.array([number[table.tokens[i]] for i in table.sample])
