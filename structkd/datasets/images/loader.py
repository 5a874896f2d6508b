"""Batches of images that depend on (seed, epoch) alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from structkd.datasets.epochs import Batches, EpochPlan, InOrder, Part, PlannedLoader
from structkd.datasets.images.batch import Images
from structkd.datasets.images.image_set import ImageSet
from structkd.datasets.images.views import Views
from structkd.errors import ConfigError, DataError


class _ImageBatches(Batches):
    def __init__(self, images: ImageSet, rows: Tensor, views: Views) -> None:
        self.images, self.rows, self.views = images, rows, views
        labelled = int((images.y[rows] >= 0).sum())
        self.label_rate = rows.numel() / labelled if labelled else 0.0

    def __getitem__(self, part: Part) -> Images:
        rows, epoch = self.rows[part.picks[0]], part.key[1]
        return Images(
            images=self.views(self.images, rows, epoch),
            y=self.images.y[rows],
            n_id=self.views.ids(rows, epoch, len(self.images)),
            label_scale=self.label_rate / rows.numel(),
            share=part.share,
        )


class ImageLoader(PlannedLoader):
    """Mini-batches of images as `Images`.

    Which images a batch holds is a function of (seed, epoch), and how an image is augmented is one of the views' seed,
    the view and the image: neither the batch size nor the number of workers or processes changes it. `set_epoch` fixes
    the epoch of the next iteration.

    Args:
        images: the set.
        batch_size: images in a global batch at most; an epoch's batches differ by one image at most.
        rows: [M] the images that are used, default all.
        views: how they are shown, default as they are, from 0 to 1.
        shuffle: a new order each epoch; False for evaluation.
        seed: with the epoch it fixes every batch.
        rank, world_size: a global batch is cut into `world_size` contiguous parts; this process gets part `rank`.
        loader: arguments of `torch.utils.data.DataLoader`, such as `num_workers`: worth while where images are
            decoded, not where they are held in memory.

    Yields:
        `Images`; `n_id` are `Views.ids`.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int = 128,
        rows: Tensor | None = None,
        views: Views | None = None,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        **loader: Any,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"ImageLoader(batch_size={batch_size}): expected at least 1.")
        rows = torch.arange(len(images)) if rows is None else rows
        if rows.numel() == 0:
            raise DataError("ImageLoader got no image.")
        plan = EpochPlan if shuffle else InOrder
        number = -(-rows.numel() // batch_size)
        super().__init__(
            _ImageBatches(images, rows, views or Views()),
            plan([rows.numel()], number, seed, rank, world_size),
            **loader,
        )
