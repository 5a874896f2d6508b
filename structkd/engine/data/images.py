"""ImageTask: classification of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch_geometric.data import Data

from structkd.datasets import ImageLoader, Images, ImageSet, Split, Views, image_split
from structkd.datasets.images.augment import ImageAugmentation
from structkd.datasets.images.corruptions import KINDS, SEVERITIES, Corrupt
from structkd.datasets.images.image_set import join
from structkd.datasets.images.views import channel_statistics
from structkd.engine.class_accuracy import DETAIL, ClassAccuracy, shot_groups
from structkd.engine.data.base import DataModule, FinishedStage, build_loader, fixed_batches, named_protocol
from structkd.engine.objectives import Classification
from structkd.engine.registry import DATASETS, build
from structkd.engine.teachers import LiveTeacher, StoredTeacher, Teacher
from structkd.errors import ConfigError, located
from structkd.evaluation.efficiency import count_macs, latency


class ImageTask(DataModule):
    """Image classification. Models are called with `images` [B, 3, H, W] and give logits [B, K].

    A teacher's outputs are stored once where the views that train can be made again: without random augmentation, or
    with a fixed number of `views` of each image. Else the teacher runs on every batch.

    Args:
        dataset: config of a reader that returns an `ImageSet`, such as `dict(type="folder_images", root=...)`; called
            once for each split, with `split` added.
        protocol: `dict(name="holdout" | "long_tailed", ...)`; further keys are options of `image_split`. Default: a
            tenth of the training images of each class validates.
        splits: names of the dataset's splits that serve as train, val (default: none, drawn from train) and test.
        augment: configs of augmentations, applied in order to every training image; none: the evaluation view.
        evaluate: configs of what brings images to size in evaluation, such as
            `dict(type="CenterCrop", size=224, resize=256)`; nothing random.
        views: number of different augmented views of each image; None (default) shows a new one in each epoch.
        corruptions: damage that the test images are also shown with, `dict(kinds=[...], severities=[...])` of `Corrupt`
            (default: all of them; None: none). Results then hold `corrupted/accuracy`, the mean over all of them, and
            `detail/<kind> <severity>/accuracy`. Their draws are the same for every model and seed.
        normalize: `dict(mean=[...], std=[...])` of the red, green and blue channel, pixels from 0 to 1; default: those
            of the dataset's training split.
        eval_batch_size: images in a batch of the evaluation.
        latency_batches: batch sizes to time a model on; empty skips the measurement.
        store_outputs: False runs teachers on every batch in any case, where stored feature maps would be too large.

    A stage's `train_dataloader` is an `ImageLoader` (default: 128 images in a batch). `n_id` are rows of the whole
    dataset, training images in front, then those of validation (where it comes with some), then test images; with
    `views`, view v of row i is v * N + i. Without validation images the weights of the last epoch are kept.
    """

    adapter = "TokenAdapter"
    reports_last = True

    def __init__(
        self,
        dataset: Mapping[str, Any],
        protocol: Mapping[str, Any] | None = None,
        splits: Mapping[str, str | None] | None = None,
        augment: Sequence[Mapping[str, Any]] = (),
        evaluate: Sequence[Mapping[str, Any]] = (),
        views: int | None = None,
        corruptions: Mapping[str, Any] | None = None,
        normalize: Mapping[str, Sequence[float]] | None = None,
        eval_batch_size: int = 256,
        latency_batches: Sequence[int] = (1, 128),
        store_outputs: bool = True,
    ) -> None:
        names = {"train": "train", "val": None, "test": "test", **(splits or {})}
        if set(names) != {"train", "val", "test"} or names["train"] is None or names["test"] is None:
            raise ConfigError(f"data.splits is {dict(names)}; expected names for train, test and, if wanted, val.")
        self.protocol_name, self.options = named_protocol(protocol or {"name": "holdout"})
        self.augmentations = _augmentations(augment, "data.augment")
        shown = _augmentations(evaluate, "data.evaluate")
        if random := [type(each).__name__ for each in shown if each.draws]:
            raise ConfigError(f"data.evaluate: {random[0]} is random; what is tested must not be.")
        self.view_count, self.eval_batch_size = views, eval_batch_size
        self.latency_batches = tuple(latency_batches)

        given = {role: name for role, name in names.items() if name is not None}
        sets: list[ImageSet] = [build(DATASETS, {**dataset, "split": s}, "data.dataset") for s in given.values()]
        self.images = join(sets, list(given.values()))
        self.rows = dict(zip(given, torch.arange(len(self.images)).split([len(each) for each in sets])))
        if normalize is None:
            mean, std = channel_statistics(self.images, self.rows["train"])
            normalize = {"mean": mean, "std": std}
        elif set(normalize) != {"mean", "std"}:
            raise ConfigError(f"data.normalize has the keys {sorted(normalize)}; expected mean and std.")
        self.eval_views = Views(shown, normalize["mean"], normalize["std"])
        self.views = self._train_views(0)
        self.corrupted = {} if corruptions is None else _corrupted(self.eval_views, corruptions)
        self.stores_outputs = store_outputs and self.views.count is not None
        self.split = self._draw(0)  # here, so that options that do not fit are an error before anything is trained
        reader = dataset["type"] if isinstance(dataset["type"], str) else dataset["type"].__name__
        sizes = " / ".join(f"{getattr(self.split, part).numel():,} {part}" for part in ("train", "val", "test"))
        self.protocol = f"{reader}, {self._setting()}, images: {sizes}"
        if not self.split.val.numel():
            self.selection = {"rule": "last"}

    def _train_views(self, seed: int) -> Views:
        shown = self.augmentations or self.eval_views.augmentations
        return Views(shown, self.eval_views.mean, self.eval_views.std, seed, self.view_count)

    def _draw(self, seed: int) -> Split:
        rows = (self.rows["train"], self.rows["test"], self.rows.get("val"))
        return image_split(self.protocol_name, self.images.y, *rows, seed=seed, **self.options)

    def _setting(self) -> str:
        shown = ", ".join(f"{key}={value}" for key, value in self.options.items() if key != "val_share")
        return self.protocol_name + (f" ({shown})" if shown else "")

    def setup(self, seed: int) -> None:
        self.split, self.views = self._draw(seed), self._train_views(seed)

    @property
    def facts(self) -> dict[str, Any]:
        """`image_size` is the side of what is evaluated, or (height, width); `pixel_mean` and `pixel_std` tell a model
        that wants another normalisation what to undo."""
        size = tuple(self.example().images.shape[2:])
        return {
            "in_channels": 3,
            "out_channels": len(self.images.classes),
            "image_size": size[0] if size[0] == size[1] else size,
            "pixel_mean": self.eval_views.mean,
            "pixel_std": self.eval_views.std,
        }

    def objective(self) -> Classification:
        return Classification()

    def train_loader(
        self, config: Mapping[str, Any] | None, where: str, seed: int, rank: int, world_size: int
    ) -> DataLoader:
        return build_loader(
            {"type": ImageLoader, **(config or {})},
            where,
            images=self.images,
            rows=self.split.train,
            views=self.views,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )

    def eval_loader(self, split: str) -> DataLoader | None:
        parts = {"val": self.split.val} | ({"test": self.split.test} if split == "test" else {})
        if split == "test":
            parts |= dict.fromkeys(self.corrupted, self.split.test)
        batches = [batch for name, rows in parts.items() for batch in self._parts(rows, 0, name)]
        return fixed_batches(_LazyBatches(self.images, self.eval_views, batches, self.corrupted)) if batches else None

    def metrics(self) -> list[Any]:
        num_classes = len(self.images.classes)
        counts = torch.bincount(self.images.y[self.split.train], minlength=num_classes)
        groups = shot_groups(counts) if self.protocol_name == "long_tailed" else None
        return [ClassAccuracy(num_classes, groups)]

    def observed_batches(self) -> Iterator[Images]:
        """The training images: every view of them where there is an end to them, else as they are evaluated."""
        views = self.views if self.views.count is not None else self.eval_views
        parts = [part for view in range(views.count or 1) for part in self._parts(self.split.train, view)]
        yield from _LazyBatches(self.images, views, parts)

    @property
    def observed_graph(self) -> Data:
        ids = [self.views.ids(self.split.train, view, len(self.images)) for view in range(self.views.count or 1)]
        return Data(n_id=torch.cat(ids), edge_index=torch.empty(2, 0, dtype=torch.int64))

    def stage_teacher(self, stage: FinishedStage) -> Teacher:
        """Stored outputs where views can be made again; the live model otherwise."""
        adapter = stage.build_adapter()
        if self.stores_outputs:
            return StoredTeacher(stage.outputs(), adapter.expand)
        return LiveTeacher(stage.load_model(), adapter)

    def example(self) -> Images:
        return _LazyBatches(self.images, self.eval_views, [(self.rows["train"][:4], 0, None)])[0]

    def costs(self, model: nn.Module, adapter: Any) -> dict[str, Any]:
        """Milliseconds to fetch a batch (decode, normalise) and to run the model on it; its multiply-accumulates."""
        device = next(iter(model.parameters()), torch.empty(0)).device
        macs = count_macs(model, self.example().images[:1].to(device))
        return {"latency_ms": self.latency(model, adapter), "macs": macs}

    @torch.no_grad()
    def latency(self, model: nn.Module, adapter: Any) -> dict[str, Any]:
        results = {}
        for size in self.latency_batches:
            rows = self.split.test[:size]
            fetched = partial(self.eval_views, self.images, rows)
            images = fetched().to(next(iter(model.parameters()), torch.empty(0)).device)
            fetch, compute = latency(fetched), latency(partial(model, images))
            results[str(size)] = {"fetch": fetch["median"], "compute": compute["median"]}
        return results

    def _parts(self, rows: Tensor, view: int, split: str | None = None) -> list[_Part]:
        return [(part, view, split) for part in rows.split(self.eval_batch_size) if part.numel()]


#: Rows, the view that is shown of them, and the split they belong to.
_Part = tuple[Tensor, int, str | None]


class _LazyBatches(Sequence[Images]):
    """Batches in order, made when they are asked for: an evaluation set need not fit in memory."""

    def __init__(
        self, images: ImageSet, views: Views, parts: Sequence[_Part], of_split: Mapping[str, Views] | None = None
    ) -> None:
        self.images, self.views, self.parts, self.of_split = images, views, parts, of_split or {}

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: Any) -> Images:
        rows, view, split = self.parts[index]
        views = self.of_split.get(split or "", self.views)
        batch = Images(
            images=views(self.images, rows, view),
            y=self.images.y[rows],
            n_id=self.views.ids(rows, view, len(self.images)),
            label_scale=1.0 / rows.numel(),
            share=1.0,
        )
        if split is not None:
            batch.splits = {split: torch.arange(rows.numel())}
        return batch


def _augmentations(configs: Sequence[Mapping[str, Any]], where: str) -> list[ImageAugmentation]:
    built = [build(DATASETS, each, f"{where}.{number}") for number, each in enumerate(configs)]
    for number, each in enumerate(built):
        if not isinstance(each, ImageAugmentation):
            raise ConfigError(f"{where}.{number}: {configs[number]['type']} is no augmentation of images.")
    return built


def _corrupted(views: Views, config: Mapping[str, Any]) -> dict[str, Views]:
    """Split name -> how it shows an image."""
    if unknown := sorted(set(config) - {"kinds", "severities"}):
        raise ConfigError(f"data.corruptions: unknown key '{unknown[0]}'; expected kinds and severities.")
    shown = {}
    for kind in config.get("kinds", KINDS):
        for severity in config.get("severities", range(1, SEVERITIES + 1)):
            with located("data.corruptions"):
                damage = Corrupt(kind, severity)
            shown[f"{DETAIL}{kind} {severity}"] = Views((*views.augmentations, damage), views.mean, views.std)
    return shown
