"""CIFAR-10 and CIFAR-100 in the formats they are published in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from structkd.datasets.images.image_set import ImageSet
from structkd.datasets.images.tree import Tree, open_tree
from structkd.datasets.pickles import plain_pickle
from structkd.errors import ConfigError, DataError

#: Red, green, blue, each 32 rows of 32 pixels.
PIXELS = 3 * 32 * 32
#: Images of each split, the same number in each of its files.
SIZES = {"train": 50_000, "test": 10_000}


@dataclass(frozen=True)
class _Layout:
    """Names of the files of one published version, and where its labels and names of classes are."""

    folder: str
    train: tuple[str, ...]
    test: str
    meta: str
    label: str | int  # key in a pickle, or the byte of a binary record
    names: str = ""

    def files(self, split: str) -> tuple[str, ...]:
        return self.train if split == "train" else (self.test,)


_FIVE = tuple(f"data_batch_{number}" for number in range(1, 6))
_FIVE_BIN = tuple(f"{name}.bin" for name in _FIVE)
LAYOUTS = {
    10: (
        _Layout("cifar-10-batches-py", _FIVE, "test_batch", "batches.meta", "labels", "label_names"),
        _Layout("cifar-10-batches-bin", _FIVE_BIN, "test_batch.bin", "batches.meta.txt", 0),
    ),
    100: (
        _Layout("cifar-100-python", ("train",), "test", "meta", "fine_labels", "fine_label_names"),
        _Layout("cifar-100-binary", ("train.bin",), "test.bin", "fine_label_names.txt", 1),
    ),
}


def cifar_images(root: str | Path, split: str = "train", num_classes: int = 10) -> ImageSet:
    """CIFAR-10 or CIFAR-100 (fine labels): 50,000 training and 10,000 test images of 32x32.

    Reads the Python version (pickles, of which nothing but plain data and arrays is loaded) and the binary version.

    Args:
        root: the archive (cifar-10-python.tar.gz, cifar-10-binary.tar.gz and the like), the folder that it
            unpacks to, or the folder around that.
        split: "train" or "test".
        num_classes: 10 or 100.

    Raises:
        DataError: missing files, a file of a wrong length (another number of images than published) or content.
        ConfigError: no such split or version.

    Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    if num_classes not in LAYOUTS or split not in ("train", "test"):
        raise ConfigError(
            f"cifar_images(split={split!r}, num_classes={num_classes}): expected 'train' or 'test', 10 or 100."
        )
    root = Path(root)
    for layout in LAYOUTS[num_classes]:
        wanted = {*layout.files(split), layout.meta}
        folder = root / layout.folder
        tree = open_tree(folder if folder.is_dir() else root, keep=_last_part_in(wanted))
        found = {name.rsplit("/")[-1]: name for name in tree.names}
        if layout.files(split)[0] in found:
            return _read(tree, layout, split, found, num_classes)
    known = ", ".join(layout.files(split)[0] for layout in LAYOUTS[num_classes])
    raise DataError(f"{root} holds no CIFAR-{num_classes}: expected the file {known.replace(', ', ' or ')} in it.")


def _last_part_in(wanted: set[str]) -> Callable[[str], bool]:
    return lambda name: name.rsplit("/")[-1] in wanted


def _read(tree: Tree, layout: _Layout, split: str, found: dict[str, str], num_classes: int) -> ImageSet:
    pickled = isinstance(layout.label, str)
    read = _pickled if pickled else _binary
    count = SIZES[split] // len(layout.files(split))
    parts = [read(*_content(tree, found, file), layout, count) for file in layout.files(split)]
    content, where = _content(tree, found, layout.meta)
    if pickled:
        names = _entry(plain_pickle(content, where, "latin1"), layout.names, where)
    else:
        names = [line.strip() for line in content.decode("utf-8", "replace").splitlines() if line.strip()]
    if not isinstance(names, list) or len(names) != num_classes or not all(isinstance(name, str) for name in names):
        raise DataError(f"{where}: expected the names of {num_classes} classes.")
    labels = np.concatenate([labels for _, labels in parts])
    if not 0 <= labels.min() <= labels.max() < num_classes:
        raise DataError(
            f"{tree.base}: the labels go from {labels.min()} to {labels.max()}; CIFAR-{num_classes} has 0 to "
            f"{num_classes - 1}. Is num_classes right?"
        )
    pixels = np.concatenate([pixels for pixels, _ in parts]).reshape(-1, 3, 32, 32)
    return ImageSet(torch.from_numpy(labels), names, torch.from_numpy(pixels))


def _content(tree: Tree, found: dict[str, str], file: str) -> tuple[bytes, str]:
    if file not in found:
        raise DataError(f"There is no file {tree.where(file)}; this version of CIFAR needs it.")
    return tree.read(found[file]), tree.where(found[file])


def _pickled(content: bytes, where: str, layout: _Layout, count: int) -> tuple[np.ndarray, np.ndarray]:
    batch = plain_pickle(content, where, "latin1")  # written by Python 2
    pixels, labels = _entry(batch, "data", where), _entry(batch, str(layout.label), where)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape != (count, PIXELS):
        raise DataError(f"{where}: 'data' must be a uint8 array [{count}, {PIXELS}], got {_kind(pixels)}.")
    if not isinstance(labels, list) or len(labels) != count or not all(type(label) is int for label in labels):
        raise DataError(f"{where}: '{layout.label}' must be a list of {count} classes, got {_kind(labels)}.")
    try:
        return pixels, np.array(labels, dtype=np.int64)
    except OverflowError as error:
        raise DataError(f"{where}: '{layout.label}' holds a number that is no class.") from error


def _entry(batch: Any, key: str, where: str) -> Any:
    if not isinstance(batch, dict) or key not in batch:
        raise DataError(f"{where} holds no '{key}'; expected a dict with it, got {_kind(batch)}.")
    return batch[key]


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype} {list(value.shape)}"
    return f"{type(value).__name__} of {len(value)}" if hasattr(value, "__len__") else type(value).__name__


def _binary(content: bytes, where: str, layout: _Layout, count: int) -> tuple[np.ndarray, np.ndarray]:
    label = int(layout.label)
    record = label + 1 + PIXELS  # CIFAR-100 has the coarse class in front of the fine one
    if len(content) != count * record:
        raise DataError(
            f"{where} has {len(content):,} bytes; expected {count:,} images of {record:,} bytes: it is cut short or of "
            "another version."
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    return rows[:, label + 1 :], rows[:, label].astype(np.int64)
