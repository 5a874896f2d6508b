"""DetectionTask: 3D object detection on LiDAR frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from structkd.datasets import GTDatabase, SceneLoader, Scenes
from structkd.engine.data.base import DataModule, FinishedStage, build_loader, fixed_batches
from structkd.engine.objectives import Detection
from structkd.engine.registry import DATASETS, METRICS, build
from structkd.engine.teachers import LiveTeacher, Teacher
from structkd.errors import ConfigError
from structkd.evaluation.efficiency import count_macs, latency_by_part
from structkd.models import DenseDetector


class DetectionTask(DataModule):
    """3D object detection. Models are called with `Scenes` and give a `Detection`.

    Args:
        dataset: config of frames, such as `dict(type="KittiFrames", root=...)`; built once for each split, with `split`
            and `classes` added.
        classes: names of the classes that are detected; a label is its place in this list.
        splits: which of the dataset's splits serve as train, val (optional) and test. On KITTI the test labels are
            not public: as everywhere in the literature its "val" is tested on, and nothing is selected on it.
        augment: configs of augmentations, applied in order to every training frame; GT sampling pastes objects from
            the training split.
        metric: config of the metric (default: `KittiAP`).
        eval_batch_size: frames in a batch of the evaluation.
        latency_frames: frames that models are timed on, one at a time; 0 skips it.

    A stage's `train_dataloader` is a `SceneLoader` (default: 4 frames in a batch). The weights that are kept are
    those of the last epoch, as detectors are reported: one-cycle schedules are made for it.
    """

    selection: Mapping[str, Any] = {"rule": "last"}
    adapter = "DetectorAdapter"
    stores_outputs = False

    def __init__(
        self,
        dataset: Mapping[str, Any],
        classes: Sequence[str] = ("Car", "Pedestrian", "Cyclist"),
        splits: Mapping[str, str | None] | None = None,
        augment: Sequence[Mapping[str, Any]] = (),
        metric: Mapping[str, Any] | None = None,
        eval_batch_size: int = 4,
        latency_frames: int = 20,
    ) -> None:
        self.classes = tuple(classes)
        names = {"train": "train", "val": None, "test": "val", **(splits or {})}
        if set(names) != {"train", "val", "test"} or names["train"] is None or names["test"] is None:
            raise ConfigError(f"data.splits is {dict(names)}; expected names for train, test and, if wanted, val.")
        self.frames = {
            role: build(DATASETS, {**dataset, "split": name, "classes": self.classes}, "data.dataset")
            for role, name in names.items()
            if name is not None
        }
        self.augment_configs = list(augment)
        self.metric_config = dict(metric or {"type": "KittiAP"})
        (measured,) = self.metrics()
        self.primary_metric = f"test/{measured.primary}"
        self.eval_batch_size, self.latency_frames = eval_batch_size, latency_frames
        sizes = ", ".join(f"{len(frames):,} {role}" for role, frames in self.frames.items())
        self.protocol = f"{dataset['type']}, frames: {sizes}; tested on its split '{names['test']}'"
        self._database: GTDatabase | None = None

    def setup(self, seed: int) -> None:
        """Nothing: the splits are the dataset's own, the same for every seed."""

    @property
    def facts(self) -> dict[str, Any]:
        return {"classes": self.classes, "point_channels": self.frames["train"][0].points.shape[1]}

    def objective(self) -> Detection:
        return Detection()

    def train_loader(
        self, config: Mapping[str, Any] | None, where: str, seed: int, rank: int, world_size: int
    ) -> DataLoader:
        frames = self.frames["train"]
        augment = [
            build(DATASETS, each, f"data.augment.{number}", **self._sampled(each))
            for number, each in enumerate(self.augment_configs)
        ]
        return build_loader(
            {"type": SceneLoader, "batch_size": 4, **(config or {})},
            where,
            frames=frames,
            augmentations=augment,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )

    def _sampled(self, augment: Mapping[str, Any]) -> dict[str, Any]:
        """What an augmentation draws its objects from, collected once."""
        if augment.get("type") != "GTSampling" or "database" in augment:
            return {}
        if self._database is None:
            self._database = GTDatabase.build(self.frames["train"])
        return {"database": self._database}

    def eval_loader(self, split: str) -> DataLoader | None:
        frames = self.frames.get(split)
        if frames is None:
            return None
        return fixed_batches(_LazyBatches(frames, split, self.eval_batch_size))

    def metrics(self) -> list[Any]:
        return [build(METRICS, self.metric_config, "data.metric", frames=self.frames)]

    def observed_batches(self) -> Iterator[Scenes]:
        yield from _LazyBatches(self.frames["train"], "train", self.eval_batch_size)

    @property
    def observed_graph(self) -> Any:
        raise ConfigError(
            "A detector's outputs are not stored: frames are augmented anew in every epoch, so the teacher runs on "
            "each batch. Leave store_outputs away."
        )

    def stage_teacher(self, stage: FinishedStage) -> Teacher:
        return LiveTeacher(stage.load_model(), stage.build_adapter())

    def example(self) -> Scenes:
        return Scenes.from_frames([self.frames["test"][0]])

    @torch.no_grad()
    def export_inputs(self, model: nn.Module, adapter: Any) -> tuple[Tensor, ...]:
        """The canvas of two frames: exported programs hold the dense network, weight files all of the detector."""
        if not isinstance(model, DenseDetector):
            raise ConfigError(
                f"{type(model).__name__} has no dense network to export; its student.pth is the bare model already: "
                f"load its 'state_dict' into structkd.models.{type(model).__name__}."
            )
        frames = self.frames["test"]
        scenes = Scenes.from_frames([frames[index] for index in range(min(2, len(frames)))])
        return (model.eval().canvas_of(scenes)[0],)

    def costs(self, model: nn.Module, adapter: Any) -> dict[str, Any]:
        """Milliseconds of each part of the detector for one frame, and its multiply-accumulates for the first one."""
        count = min(self.latency_frames, len(self.frames["test"]))
        if not count:
            return {"latency_ms": {}}
        device = next(model.parameters()).device
        scenes = [Scenes.from_frames([self.frames["test"][index]]).to(device) for index in range(count)]
        times = latency_by_part(model, scenes, after=("predict", lambda detection: detection.predict()))
        return {"latency_ms": {"1": times}, "macs": count_macs(model, scenes[0])}


class _LazyBatches(Sequence[Scenes]):
    """Frames in order, read when they are asked for: an evaluation set need not fit in memory."""

    def __init__(self, frames: Sequence[Any], split: str, batch_size: int) -> None:
        self.frames, self.split, self.batch_size = frames, split, batch_size

    def __len__(self) -> int:
        return -(-len(self.frames) // self.batch_size)

    def __getitem__(self, index: Any) -> Scenes:
        if index >= len(self):
            raise IndexError(index)
        ids = range(index * self.batch_size, min((index + 1) * self.batch_size, len(self.frames)))
        scenes = Scenes.from_frames([self.frames[i] for i in ids], torch.tensor(list(ids)))
        scenes.split = self.split
        return scenes
