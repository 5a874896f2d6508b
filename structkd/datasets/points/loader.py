"""Batches of LiDAR frames that depend on (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from structkd.datasets.epochs import Batches, EpochPlan, InOrder, Part, PlannedLoader
from structkd.datasets.points.frame import Frame, Frames
from structkd.datasets.points.scenes import Scenes
from structkd.errors import ConfigError, DataError

Augmentation = Callable[[Frame, np.random.Generator], Frame]


def rng_of(*key: int) -> np.random.Generator:
    """A generator of its own for each key; neighbouring keys give unrelated streams."""
    # The length goes in because SeedSequence pads with zeros: (1,) and (1, 0) would be one key.
    return np.random.default_rng(np.random.SeedSequence((len(key), *key)))


class _SceneBatches(Batches):
    def __init__(self, frames: Frames, augmentations: Sequence[Augmentation], cache: bool) -> None:
        self.frames, self.augmentations = frames, tuple(augmentations)
        self.cache: dict[int, Frame] | None = {} if cache else None

    def __getitem__(self, part: Part) -> Scenes:
        turns = part.picks[0].tolist()
        rows = [turn % len(self.frames) for turn in turns]
        seed, epoch = part.key[:2]
        # A repeated frame has several turns in an epoch, each with augmentations of its own.
        frames = [self.augmented(row, rng_of(seed, epoch, turn)) for row, turn in zip(rows, turns)]
        return Scenes.from_frames(frames, rows)

    def augmented(self, row: int, rng: np.random.Generator) -> Frame:
        frame = self.decoded(row)
        for augment in self.augmentations:
            frame = augment(frame, rng)
        return frame

    def decoded(self, row: int) -> Frame:
        if self.cache is None:
            return self.frames[row]
        if row not in self.cache:
            self.cache[row] = self.frames[row]
        return self.cache[row]


class SceneLoader(PlannedLoader):
    """Mini-batches of frames as `Scenes`.

    Which frames a batch holds is a function of (seed, epoch), and how a frame is augmented is one of (seed, epoch,
    frame): neither the batch size nor the number of workers or processes changes it. `set_epoch` fixes the epoch
    of the next iteration.

    Args:
        frames: a sequence of `Frame`.
        batch_size: frames in a global batch at most; an epoch's batches differ by one frame at most.
        augmentations: callables (frame, rng) -> frame, applied in order.
        shuffle: a new order each epoch; False for evaluation.
        repeat: turns of each frame in an epoch, each with augmentations of its own (mmdet3d's RepeatDataset; KITTI's
            configs have 2).
        seed: with the epoch it fixes every batch.
        rank, world_size: a global batch is cut into `world_size` contiguous parts; this process gets part `rank`.
        cache: keep decoded frames in memory (each worker its own); for small sets, about 0.3 MB a frame in the
            camera's view.
        loader: arguments of `torch.utils.data.DataLoader`, such as `num_workers`.

    Yields:
        `Scenes`; `n_id` are rows of `frames`.
    """

    def __init__(
        self,
        frames: Frames,
        batch_size: int,
        augmentations: Sequence[Augmentation] = (),
        shuffle: bool = True,
        repeat: int = 1,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        cache: bool = False,
        **loader: Any,
    ) -> None:
        if batch_size < 1 or repeat < 1:
            raise ConfigError(f"SceneLoader(batch_size={batch_size}, repeat={repeat}): expected at least 1 of each.")
        if len(frames) == 0:
            raise DataError("SceneLoader got a dataset without frames.")
        self.frames = frames
        turns = len(frames) * repeat
        plan = EpochPlan if shuffle else InOrder
        super().__init__(
            _SceneBatches(frames, augmentations, cache),
            plan([turns], -(-turns // batch_size), seed, rank, world_size),
            **loader,
        )
