"""Which images train, select and test: validation drawn from the training images, and long-tailed training sets."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from structkd.datasets.graphs.protocols import Split
from structkd.errors import ConfigError, DataError, nearest

Draw = Callable[..., np.ndarray]


def image_split(
    name: str,
    y: Tensor,
    train: Tensor,
    test: Tensor,
    val: Tensor | None = None,
    seed: int = 0,
    val_share: float | None = None,
    **options: object,
) -> Split:
    """The split of a set of images under a named protocol.

    Validation images are drawn from the training images first, the same share of every class; what trains is then drawn
    from the rest. So all protocols of one seed and share select on the same images, and the validation set of a
    long-tailed training set is as balanced as the test set. Test images are never touched.

    Args:
        name: "holdout": all remaining training images, or `per_class=n` of each class;
            "long_tailed": an exponential profile, see `long_tailed`: `factor` (required) and `permute=False`.
        y: [N] classes of all images; unlabelled ones (-1) neither train nor validate.
        train, test: rows of `y`, as the dataset comes.
        val: rows of a validation set the dataset comes with; then none is drawn.
        seed: of the draw; splits of one seed are the same on every machine.
        val_share: part of the training images of each class that validates, at least one image; 0 draws none (then
            nothing can be selected on). Default 0.1.
        options: the protocol's own, named above.

    Returns:
        A `Split` of rows of `y`, in ascending order; `val` may be empty.

    Raises:
        ConfigError: unknown protocol or option. DataError: a class that has too few images.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"There is no split protocol '{name}' for images. {nearest(name, PROTOCOLS)}")
    draw = PROTOCOLS[name]
    known = dict(list(inspect.signature(draw).parameters.items())[2:])
    for option, parameter in known.items():
        if parameter.default is parameter.empty and option not in options:
            raise ConfigError(f"The split protocol '{name}' needs the option '{option}'.")
    for option in options:
        if option not in known:
            raise ConfigError(
                f"The split protocol '{name}' has no option '{option}'. {nearest(option, [*known, 'val_share'])}"
            )
    if val is not None and val_share:
        raise ConfigError(f"val_share={val_share}: the dataset comes with a validation split, so none is drawn.")
    share = (0.1 if val is None else 0.0) if val_share is None else val_share
    if not 0 <= share < 1:
        raise ConfigError(f"val_share={share}: expected a share of the training images from 0, below 1.")
    random = np.random.RandomState(seed)
    pools = _by_class(y, train, random)
    held = [max(1, round(share * len(pool))) if share else 0 for pool in pools]
    for label, (pool, size) in enumerate(zip(pools, held)):
        if len(pool) <= size:
            raise DataError(f"Class {label} has {len(pool)} training images, too few to train and validate on.")
    drawn_val = np.concatenate([pool[:size] for pool, size in zip(pools, held)])
    drawn_train = draw([pool[size:] for pool, size in zip(pools, held)], random, **options)
    return Split(_rows(drawn_train), _rows(drawn_val) if val is None else val, test)


def long_tailed(sizes: np.ndarray, factor: float, order: np.ndarray | None = None) -> np.ndarray:
    """Images a class keeps under an exponential profile: the class at place p keeps n * factor^(-p / (K - 1)).

    n is the mean number of images a class has, so that a balanced set keeps its first class whole; a class never keeps
    more than it has, nor fewer than one.

    Args:
        sizes: [K] images a class has.
        factor: the first class' images over the last one's, 1 or more (10, 50 and 100 are usual).
        order: [K] place of each class, default as numbered.

    Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019 (arXiv:1901.05555),
    section 5.1; CIFAR-100-LT as in Cao et al., NeurIPS 2019 (arXiv:1906.07413).

    Differences: there the training set has no validation images taken out before; with `val_share=0` the numbers are
    the published ones (500, 477, ..., 5 for CIFAR-100 and factor 100).
    """
    if not factor >= 1:
        raise ConfigError(f"factor={factor}: expected the ratio of the largest to the smallest class, 1 or more.")
    place = np.arange(len(sizes)) if order is None else order
    wanted = np.floor(sizes.mean() * (1 / factor) ** (place / max(len(sizes) - 1, 1)) + 1e-9).astype(np.int64)
    return np.minimum(np.maximum(wanted, 1), sizes)


def _holdout(pools: list[np.ndarray], random: np.random.RandomState, per_class: int | None = None) -> np.ndarray:
    if per_class is None:
        return np.concatenate(pools)
    for label, pool in enumerate(pools):
        if not 1 <= per_class <= len(pool):
            raise DataError(f"per_class={per_class}: class {label} has {len(pool)} images left to draw from.")
    return np.concatenate([pool[:per_class] for pool in pools])


def _long_tailed(
    pools: list[np.ndarray], random: np.random.RandomState, factor: float, permute: bool = False
) -> np.ndarray:
    order = random.permutation(len(pools)) if permute else None
    kept = long_tailed(np.array([len(pool) for pool in pools]), factor, order)
    return np.concatenate([pool[:size] for pool, size in zip(pools, kept)])


def _by_class(y: Tensor, rows: Tensor, random: np.random.RandomState) -> list[np.ndarray]:
    """The rows of each class in a random order; whatever is drawn of a class is the front of it."""
    labels, ids = y[rows].numpy(), rows.numpy()
    if not (labels >= 0).any():
        raise DataError("None of the training images has a label.")
    return [random.permutation(np.sort(ids[labels == label])) for label in range(int(labels.max()) + 1)]


def _rows(ids: np.ndarray) -> Tensor:
    return torch.from_numpy(np.sort(ids).astype(np.int64))


PROTOCOLS: dict[str, Draw] = {"holdout": _holdout, "long_tailed": _long_tailed}
