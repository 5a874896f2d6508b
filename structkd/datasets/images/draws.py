"""Random numbers of images: a function of a key and of the image, whatever else is in the batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_STEP = np.uint64(0x9E3779B97F4A7C15)


def uniforms(rows: Tensor, count: int, *key: int) -> Tensor:
    """[B, count] float64 from 0, below 1: `count` numbers of their own for each (key, row).

    A generator for each image would cost more than its augmentation, so numbers are computed from a counter: the
    stream of an image is splitmix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA
    2014) from a state hashed out of key and row.

    Args:
        rows: [B] int64.
        key: integers of 0 or more, such as seed and epoch.
    """
    # The length goes in because SeedSequence pads with zeros: (1,) and (1, 0) would be one key.
    start = np.random.SeedSequence((len(key), *key)).generate_state(1, np.uint64)
    states = _mixed(_mixed(rows.numpy().astype(np.uint64) * _STEP) + start)
    bits = _mixed(states[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _STEP)
    return torch.from_numpy((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _mixed(z: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: every bit of the result hangs on every bit of `z`."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
