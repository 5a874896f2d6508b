"""ImageTask: classification of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from structkd.datasets import ImageSet, Split, Views
from structkd.datasets.images.image_set import join
from structkd.datasets.images.views import channel_statistics
from structkd.engine.data.base import DataModule, named_protocol
from structkd.engine.registry import DATASETS, build
from structkd.errors import ConfigError


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

    def __init__(
        self,
        dataset: Mapping[str, Any],
        protocol: Mapping[str, Any] | None = None,
        splits: Mapping[str, str | None] | None = None,
        augment: Sequence[Mapping[str, Any]] = (),
        evaluate: Sequence[Mapping[str, Any]] = (),
        views: int | None = None,
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
        sets: list[ImageSet] = [
            build(DATASETS, {**dataset, "split": name}, "data.dataset", image_set=None) for name in given.values()
        ]
        sizes = dict(zip(given, map(len, sets)))
        self.images = join(sets, list(given.values()))
        self.rows = dict(zip(given, torch.arange(len(self.images)).split(list(sizes.values()))))
        if normalize is None:
            mean, std = channel_statistics(self.images, self.rows["train"])
            normalize = {"mean": mean, "std": std}
        elif set(normalize) != {"mean", "std"}:
            raise ConfigError(f"data.normalize has the keys {sorted(normalize)}; expected mean and std.")
        self.eval_views = Views(shown, **normalize)
        self.views = self.make_views(0)
        self.stores_outputs = store_outputs and self.views.count is not None
        self.split: Split
        self._describe(dataset, sizes)
        self._image_size = tuple(self.eval_views(self.images, self.rows["train"][:1]).shape[2:])
        self._draw(0)  # options that do not fit are an error now, and not after a first stage
