"""Pictures in one folder a class, and Tiny-ImageNet's own layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import torch

from structkd.datasets.images.decode import Pictures
from structkd.datasets.images.image_set import ImageSet
from structkd.datasets.images.tree import Tree, open_tree
from structkd.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


def folder_images(root: str | Path, split: str = "train", size: int | None = None, hold: bool = True) -> ImageSet:
    """Pictures laid out as `root/SPLIT/CLASS/*.jpg`, further folders below CLASS allowed (torchvision's `ImageFolder`).

    Classes are the folders' names in order, and pictures are sorted by class and name. Hidden files and folders (a name
    that begins with a dot) are left out.

    Args:
        root: a folder or an archive (.tar, .tar.gz, .zip, ...), which is read without being unpacked; one folder
            around everything is skipped.
        split: name of the split's folder.
        size: bring every picture to size x size: its shorter side is scaled to `size`, and the middle is kept.
        hold: decode everything at once and keep the pixels (N * 3 * H * W bytes); False decodes an image each time it
            is asked for, which large sets need, and sets of different sizes where no `size` is given.

    Raises:
        DataError: a missing root or split, a class without pictures, a damaged picture (named).
    """
    tree = open_tree(root, split, _is_picture)
    names = [name for name in tree.names if "/" in name]
    classes = sorted({folder.split("/")[0] for folder in tree.folders if not folder.startswith(".")})
    if not classes:
        raise DataError(f"{tree.base} has no folders; expected one a class, with its pictures.")
    place = {name: number for number, name in enumerate(classes)}
    names.sort(key=lambda name: (place[name.split("/")[0]], name))
    labels = [place[name.split("/")[0]] for name in names]
    _check_classes(tree, classes, labels)
    return _images(tree, names, labels, classes, size, hold)


def tiny_images(root: str | Path, split: str = "train", size: int | None = None, hold: bool = True) -> ImageSet:
    """Tiny-ImageNet as it is published: 200 classes, 500 training and 50 validation pictures a class, 64x64.

    Training pictures lie in `train/WNID/images`, those of validation in `val/images`, with their classes in
    `val/val_annotations.txt`. The classes of "test" are not public: the literature tests on "val".

    Args:
        root: `tiny-imagenet-200`, the folder around it, or the archive tiny-imagenet-200.zip.
        split: "train" or "val".
        size, hold: as in `folder_images`.

    Raises:
        DataError: as `folder_images`; a picture without annotation or with two, an annotation without picture.
    """
    if split == "train":
        return folder_images(root, "train", size, hold)
    if split != "val":
        raise DataError(f"Tiny-ImageNet has labelled splits 'train' and 'val', none named '{split}'.")
    tree = open_tree(root, "val", lambda name: _is_picture(name) or name == "val_annotations.txt")
    names = [name for name in tree.names if name.startswith("images/") and _is_picture(name)]
    where = tree.where("val_annotations.txt")
    lines = tree.read("val_annotations.txt").decode("utf-8", "replace").splitlines()
    class_of: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) < 2 or not fields[0] or not fields[1]:
            raise DataError(
                f"{where}, line {number}: expected a picture's name, a tab and its class; got {line!r:.80}."
            )
        name = f"images/{fields[0]}"
        if name in class_of:
            raise DataError(f"{where}, line {number}: a second line for the picture {name}; expected one each.")
        class_of[name] = fields[1]
    if unknown := set(names) - class_of.keys():
        raise DataError(f"{where} has no line for the picture {min(unknown)} ({len(unknown)} in all).")
    if missing := class_of.keys() - set(names):
        raise DataError(f"{where} names the picture {min(missing)}, which is not there ({len(missing)} in all).")
    classes = sorted(set(class_of.values()))
    place = {name: number for number, name in enumerate(classes)}
    names.sort(key=lambda name: (place[class_of[name]], name))
    return _images(tree, names, [place[class_of[name]] for name in names], classes, size, hold)


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _check_classes(tree: Tree, classes: Sequence[str], labels: Sequence[int]) -> None:
    empty = sorted(set(range(len(classes))) - set(labels))
    if empty:
        raise DataError(
            f"{tree.where(classes[empty[0]])} holds no picture ({len(empty)} of {len(classes)} classes have none); "
            f"expected files that end in one of {', '.join(SUFFIXES)}."
        )


def _images(
    tree: Tree, names: Sequence[str], labels: Sequence[int], classes: Sequence[str], size: int | None, hold: bool
) -> ImageSet:
    if not names:
        raise DataError(f"{tree.base} holds no picture.")
    images = ImageSet(torch.tensor(labels), classes, Pictures(tree, names, size))
    return images.held() if hold else images
