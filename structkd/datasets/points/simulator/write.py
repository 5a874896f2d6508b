"""Simulated frames on the disk, in KITTI's layout."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from structkd.datasets.points.kitti_files import format_objects
from structkd.datasets.points.simulator.simulate import CALIBRATION, COUNTS, Simulation
from structkd.datasets.progress import progress
from structkd.errors import ConfigError, DataError
from structkd.files import atomic_write_bytes, atomic_write_text

#: Raised whenever the same parameters give other frames than before.
VERSION = 1
#: Number of the first frame of each split: a frame stays the same whatever the sizes of the splits.
FIRST = {"train": 0, "val": 100_000, "test": 200_000}
MANIFEST = "manifest.json"


def simulated_kitti(
    root: str | Path | None = None,
    num_train: int = 400,
    num_val: int = 100,
    num_test: int = 0,
    seed: int = 0,
    counts: Mapping[str, float] | None = None,
    full: bool = False,
    num_workers: int = 0,
    show_progress: bool = True,
) -> Path:
    """Make simulated frames, unless they are there; returns their folder, for `KittiFrames(folder, "train")`.

    The folder is a sub-folder of `root`, named after the parameters, so sets with other parameters stand beside each
    other. Its manifest is written last: a folder that has one is complete and is used as it is, one without was
    interrupted and is taken up where it stopped.

    Args:
        root: default: simulated_kitti in $STRUCTKD_CACHE, or else in ./data.
        num_train, num_val, num_test: frames of each split. All lie in `training` with labels.
        seed: frame i of a split depends on it, i and the next two parameters alone.
        counts: mean number of objects put into a street by class (see `Simulation`); default `COUNTS`.
        full: shoot all round instead of only where the camera looks.
        num_workers: further processes to share the work; 0 does it in this one.
        show_progress: count the frames on the error stream.

    Raises:
        ConfigError: numbers below 0, an unknown class, open3d missing (extra `points`).
        DataError: a manifest that is damaged or of other parameters.
    """
    sizes = {"train": num_train, "val": num_val, "test": num_test}
    counts = dict(COUNTS) if counts is None else dict(counts)
    if unknown := sorted(set(counts) - set(COUNTS)):
        raise ConfigError(f"simulated_kitti(counts): unknown {', '.join(unknown)}; expected some of {list(COUNTS)}.")
    if min([*sizes.values(), *counts.values()]) < 0 or not sum(sizes.values()) or max(sizes.values()) > FIRST["val"]:
        raise ConfigError(
            f"simulated_kitti got {sizes} frames and counts {counts}; expected numbers from 0, not all 0."
        )
    parameters = {"version": VERSION, **sizes, "seed": seed, "counts": dict(sorted(counts.items())), "full": full}
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:8]
    folder = (default_root() if root is None else Path(root)) / f"{num_train}_{num_val}_{num_test}_seed{seed}_{digest}"
    if is_complete(folder, parameters):
        return folder
    simulation = Simulation(seed, counts, full)
    numbers = {split: range(FIRST[split], FIRST[split] + size) for split, size in sizes.items()}
    missing = [number for one in numbers.values() for number in one if not _label_path(folder, number).is_file()]
    for _ in progress(_make(_Make(simulation, folder), missing, num_workers), len(missing), "frames", show_progress):
        pass
    for split, one in numbers.items():
        if one:
            atomic_write_text(
                folder / "ImageSets" / f"{split}.txt", "".join(f"{number:06d}\n" for number in one), durable=False
            )
    atomic_write_text(folder / MANIFEST, json.dumps(parameters, indent=2) + "\n")
    return folder


def default_root() -> Path:
    """simulated_kitti in $STRUCTKD_CACHE, or else in ./data."""
    return Path(os.environ.get("STRUCTKD_CACHE") or "data") / "simulated_kitti"


def is_complete(folder: Path, parameters: Mapping[str, object]) -> bool:
    """Whether the folder has a manifest.

    Raises:
        DataError: it has one that says something else.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return False
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged; delete the folder {folder} to have it made anew.") from error
    if found != parameters:
        raise DataError(f"{path} is of other frames ({found}); expected {dict(parameters)}. Choose another root.")
    return True


class _Make:
    """Makes and writes one frame; a class, so that it can be sent to another process."""

    def __init__(self, simulation: Simulation, folder: Path) -> None:
        self.simulation, self.folder = simulation, folder

    def __call__(self, number: int) -> None:
        points, objects = self.simulation.frame(number)
        name = f"{number:06d}"
        atomic_write_bytes(
            self.folder / "training" / "velodyne" / f"{name}.bin", points.astype("<f4").tobytes(), durable=False
        )
        atomic_write_text(self.folder / "training" / "calib" / f"{name}.txt", calibration_text(), durable=False)
        # The label comes last: where it is, the frame is there.
        atomic_write_text(_label_path(self.folder, number), format_objects(objects), durable=False)


def _make(make: _Make, numbers: list[int], num_workers: int) -> Iterator[None]:
    """Makes the frames and yields after each."""
    if not num_workers:
        yield from map(make, numbers)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # Spawned, because open3d's threads do not survive a fork.
    with ProcessPoolExecutor(num_workers, get_context("spawn")) as pool:
        yield from pool.map(make, numbers, chunksize=8)


def _label_path(folder: Path, number: int) -> Path:
    return folder / "training" / "label_2" / f"{number:06d}.txt"


def calibration_text() -> str:
    """A calibration file with all entries of KITTI's; the cameras stand at one place."""
    move = CALIBRATION.lidar_to_camera[:3]
    entries = {f"P{i}": CALIBRATION.projection for i in range(4)}
    entries |= {"R0_rect": np.eye(3), "Tr_velo_to_cam": move, "Tr_imu_to_velo": np.eye(4)[:3]}
    return "".join(
        f"{name}: {' '.join(f'{value:.12e}' for value in matrix.ravel())}\n" for name, matrix in entries.items()
    )
