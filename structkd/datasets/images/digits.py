"""The embedded default: handwritten digits as small images; needs no download."""

from __future__ import annotations

import numpy as np
import torch

from structkd.datasets.graphs.digits import load_digits
from structkd.datasets.images.image_set import ImageSet
from structkd.errors import ConfigError

#: Images in front of the test split.
TRAIN = 1347


def digit_images(split: str = "train") -> ImageSet:
    """scikit-learn's digits as 8x8 images with three equal channels: 1,347 for training, 450 for testing.

    The images are ordered by writer and the last quarter tests, so the test digits are mostly by other hands.

    Args:
        split: "train" or "test".
    """
    if split not in ("train", "test"):
        raise ConfigError(f"digit_images(split={split!r}): expected 'train' or 'test'.")
    images, labels = load_digits()
    part = slice(TRAIN) if split == "train" else slice(TRAIN, None)
    grey = torch.from_numpy(np.rint(images[part] * 255).astype(np.uint8))
    return ImageSet(
        torch.from_numpy(labels[part]), [str(digit) for digit in range(10)], grey[:, None].repeat(1, 3, 1, 1)
    )
