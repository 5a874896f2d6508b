"""nuScenes' relational tables, read as the JSON files they are: no devkit needed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from structkd.datasets.points.nuscenes_splits import in_split
from structkd.datasets.points.poses import pose
from structkd.errors import ConfigError, DataError, StructkdError, nearest, reason
from structkd.evaluation.nuscenes import ATTRIBUTES

Row = Mapping[str, Any]
#: Categories that are detected, and as what.
DETECTED = {
    "movable_object.barrier": "barrier",
    "vehicle.bicycle": "bicycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.motorcycle": "motorcycle",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "movable_object.trafficcone": "traffic_cone",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
}
LIDAR = "LIDAR_TOP"
#: Velocity is not estimated over more than this, in seconds; twice that between the frames before and after.
MAX_TIME = 1.5


class NuScenesTables:
    """The tables of `root/version`, each read when it is first asked for.

    Args:
        root: folder with `samples`, `sweeps` and the folders of tables.
        version: "v1.0-mini", "v1.0-trainval" or "v1.0-test".

    Raises:
        DataError: no such folder, a table that is missing, damaged or lacks a column, a token that no row has.
    """

    def __init__(self, root: str | Path, version: str) -> None:
        self.root, self.version, self.folder = Path(root), version, Path(root) / version
        self._tables: dict[str, dict[str, Row]] = {}
        if not self.folder.is_dir():
            there = sorted(path.name for path in self.root.glob("v1.0-*")) if self.root.is_dir() else []
            raise DataError(f"There is no folder {self.folder} with nuScenes' tables. {nearest(version, there)}")

    def table(self, name: str) -> dict[str, Row]:
        """Token -> row of a table such as "sample"."""
        if name not in self._tables:
            path = self.folder / f"{name}.json"
            if not path.is_file():
                raise DataError(f"There is no table {path}.")
            try:
                rows = json.loads(path.read_bytes())
                self._tables[name] = {row["token"]: row for row in rows}
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise DataError(
                    f"{path} is no table ({reason(error)}); expected a list of rows with tokens."
                ) from error
        return self._tables[name]

    def get(self, name: str, token: str) -> Row:
        """The row of a table that has a token."""
        try:
            return self.table(name)[token]
        except (KeyError, TypeError) as error:
            raise DataError(f"{self.folder / name}.json has no row {token!r}, which another table names.") from error

    def value(self, name: str, row: Row, column: str) -> Any:
        """A cell of a row."""
        try:
            return row[column]
        except KeyError as error:
            raise DataError(f"{self.folder / name}.json: row {row.get('token')!r} has no {column}.") from error

    def samples(self, split: str) -> list[str]:
        """Tokens of the samples of a split, by scene and time.

        Args:
            split: "train", "val" ("mini_train" and "mini_val" are the same ones in v1.0-mini), "test" or "all".
        """
        with self.reading("scenes"):
            tokens = self._samples(split)
        if not tokens:
            raise ConfigError(f"{self.version} holds no sample of split {split!r}; expected train, val, test or all.")
        return tokens

    def _samples(self, split: str) -> list[str]:
        tokens: list[str] = []
        for scene in sorted(self.table("scene").values(), key=lambda row: str(self.value("scene", row, "name"))):
            if in_split(self.value("scene", scene, "name"), split, self.version):
                tokens += self._chain("sample", self.value("scene", scene, "first_sample_token"))
        return tokens

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Turns what a cell of a wrong type causes in the block into a `DataError` that names the folder and `what`."""
        try:
            yield
        except StructkdError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            raise DataError(f"{self.folder}: {what}: a table has a cell of a wrong type ({reason(error)}).") from error

    def _chain(self, name: str, token: str) -> Iterator[str]:
        """A row and those that follow."""
        seen = set()
        while token:
            if token in seen:
                raise DataError(f"{self.folder / name}.json: row {token!r} follows itself.")
            seen.add(token)
            yield token
            token = self.value(name, self.get(name, token), "next")

    def lidar(self, sample: str) -> Row:
        """The row of `sample_data` with the scan of a sample."""
        try:
            return self._key_scans[sample]
        except KeyError as error:
            raise DataError(
                f"{self.folder / 'sample_data'}.json has no key frame of {LIDAR} for sample {sample}."
            ) from error

    @cached_property
    def _key_scans(self) -> dict[str, Row]:
        return {self.value("sample_data", row, "sample_token"): row for row in self._scans() if row.get("is_key_frame")}

    def _scans(self) -> Iterator[Row]:
        channel = {token: self.value("sensor", row, "channel") for token, row in self.table("sensor").items()}
        lidars = {
            token
            for token, row in self.table("calibrated_sensor").items()
            if channel.get(self.value("calibrated_sensor", row, "sensor_token")) == LIDAR
        }
        for row in self.table("sample_data").values():
            if self.value("sample_data", row, "calibrated_sensor_token") in lidars:
                yield row

    def poses(self, scan: Row) -> tuple[np.ndarray, np.ndarray]:
        """Two transforms [4, 4] at the time of a scan: sensor to vehicle and vehicle to the global frame."""
        return (
            self._pose("calibrated_sensor", self.value("sample_data", scan, "calibrated_sensor_token")),
            self._pose("ego_pose", self.value("sample_data", scan, "ego_pose_token")),
        )

    def _pose(self, name: str, token: str) -> np.ndarray:
        row = self.get(name, token)
        cells = self.value(name, row, "translation"), self.value(name, row, "rotation")
        try:
            matrix = pose(*cells)
        except (ValueError, TypeError) as error:
            raise DataError(f"{self.folder / name}.json: row {token!r} is no pose ({reason(error)}).") from error
        if not np.isfinite(matrix).all():
            raise DataError(f"{self.folder / name}.json: row {token!r} is no pose: {cells}.")
        return matrix

    @cached_property
    def annotations(self) -> dict[str, list[Row]]:
        """Sample token -> rows of `sample_annotation`, in the order of the table."""
        found: dict[str, list[Row]] = {token: [] for token in self.table("sample")}
        for row in self.table("sample_annotation").values():
            found.setdefault(self.value("sample_annotation", row, "sample_token"), []).append(row)
        return found

    def category(self, annotation: Row) -> str:
        """The category of an annotated object, such as "vehicle.car"."""
        instance = self.get("instance", self.value("sample_annotation", annotation, "instance_token"))
        category = self.get("category", self.value("instance", instance, "category_token"))
        return str(self.value("category", category, "name"))

    def attribute(self, annotation: Row) -> int:
        """Index into `ATTRIBUTES` of an annotated object, -1 for none."""
        tokens = self.value("sample_annotation", annotation, "attribute_tokens")
        if not tokens:
            return -1
        name = self.value("attribute", self.get("attribute", tokens[0]), "name")
        if len(tokens) > 1 or name not in ATTRIBUTES:
            raise DataError(
                f"{self.folder / 'sample_annotation'}.json: row {annotation.get('token')!r} has {len(tokens)} "
                f"attributes, the first {name!r}; expected at most one of {', '.join(ATTRIBUTES)}."
            )
        return ATTRIBUTES.index(name)

    def velocity(self, annotation: Row) -> np.ndarray:
        """[2] global velocity of an annotated object in metres a second, NaN where it cannot be told.

        The difference of its places before and after, or of one of them and this one.
        """
        rows = [annotation if not token else self.get("sample_annotation", token) for token in self._around(annotation)]
        samples = [self.get("sample", self.value("sample_annotation", row, "sample_token")) for row in rows]
        first, last = (float(self.value("sample", row, "timestamp")) for row in samples)
        seconds, gaps = 1e-6 * last - 1e-6 * first, sum(row is not annotation for row in rows)
        if not gaps or not 0 < seconds <= gaps * MAX_TIME:
            return np.full(2, np.nan)
        before, after = (self.value("sample_annotation", row, "translation") for row in rows)
        return (np.array(after[:2], dtype=np.float64) - np.array(before[:2], dtype=np.float64)) / seconds

    def _around(self, annotation: Row) -> tuple[str, str]:
        return self.value("sample_annotation", annotation, "prev"), self.value("sample_annotation", annotation, "next")

    def boxes(self, annotations: list[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centres [N, 3], sizes [N, 3] (width, length, height) and quaternions [N, 4]."""
        columns = ("translation", 3), ("size", 3), ("rotation", 4)
        center, size, rotation = (self.columns(annotations, name, count) for name, count in columns)
        return center, size, rotation

    def columns(self, annotations: list[Row], column: str, count: int) -> np.ndarray:
        """[N, count] float64 of a column of `sample_annotation`; [N] for count 0."""
        shape = (len(annotations), count) if count else (len(annotations),)
        values = [self.value("sample_annotation", row, column) for row in annotations]
        try:
            table = np.array(values, dtype=np.float64).reshape(shape)
            if np.isfinite(table).all():
                return table
        except (ValueError, TypeError):
            pass
        raise DataError(
            f"{self.folder / 'sample_annotation'}.json: {column} is not {count or 1} finite numbers in every row."
        )
