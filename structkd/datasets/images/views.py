"""What a model sees of an image: a function of (seed, view, image), so that a teacher's view can be made again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from structkd.datasets.images.augment import ImageAugmentation, stacked
from structkd.datasets.images.draws import uniforms
from structkd.datasets.images.image_set import ImageSet
from structkd.errors import ConfigError


class Views:
    """Augments and normalises images.

    Args:
        augmentations: applied in order; none (or none that is random) gives the same view in every epoch.
        mean, std: of the red, green and blue channel, with pixels from 0 to 1.
        seed: with view and image it fixes every random number.
        count: number of different views of an image: epoch e shows view e % count. None: each epoch shows a new one.
    """

    def __init__(
        self,
        augmentations: Sequence[ImageAugmentation] = (),
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        seed: int = 0,
        count: int | None = None,
    ) -> None:
        if len(mean) != 3 or len(std) != 3 or not min(std) > 0:
            raise ConfigError(f"mean={list(mean)}, std={list(std)}: expected three numbers each, std above 0.")
        if count is not None and count < 1:
            raise ConfigError(f"views={count}: expected at least one view of each image, or None for new ones.")
        self.augmentations, self.seed = tuple(augmentations), seed
        random = any(each.draws for each in self.augmentations)
        #: Different views of an image; None when there is no end to them.
        self.count: int | None = count if random else 1
        self.mean, self.std = tuple(mean), tuple(std)
        # (x / 255 - mean) / std in one multiplication and one addition
        self._scale = torch.tensor([1 / (255 * s) for s in std], dtype=torch.float64).float().view(3, 1, 1)
        self._shift = torch.tensor([-m / s for m, s in zip(mean, std)], dtype=torch.float64).float().view(3, 1, 1)

    def number(self, epoch: int) -> int:
        """The view that an epoch (0-based) shows."""
        return epoch if self.count is None else epoch % self.count

    def ids(self, rows: Tensor, epoch: int, total: int) -> Tensor:
        """[B] ids of what an epoch shows of the images `rows` of a set of `total`: view * total + row.

        Views without end are not told apart: their ids are the rows.
        """
        return rows if self.count is None else self.number(epoch) * total + rows

    def __call__(self, images: ImageSet, rows: Tensor, epoch: int = 0) -> Tensor:
        """[B, 3, h, w] float32, what an epoch shows of the images `rows` [B]."""
        view, pixels = self.number(epoch), images.batch(rows)
        for place, augment in enumerate(self.augmentations):
            pixels = augment(pixels, uniforms(rows, augment.draws, self.seed, view, place))
        return stacked(pixels).float().mul_(self._scale).add_(self._shift)


def channel_statistics(images: ImageSet, rows: Tensor, most: int = 5000) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the red, green and blue values of `rows`, pixels from 0 to 1.

    Of more than `most` images, as many are taken at equal distances; a channel without variation gets 1.
    """
    chosen = rows[torch.linspace(0, len(rows) - 1, min(most, len(rows))).round().long()]
    total, squares, count = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), 0
    for row in chosen.tolist():
        values = images.image(row).flatten(1).double() / 255
        total, squares, count = total + values.sum(1), squares + values.square().sum(1), count + values.size(1)
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 1e-6, std, torch.ones_like(std))
    return tuple(mean.tolist()), tuple(std.tolist())
