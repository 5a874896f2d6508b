"""One training step of a pair of modules: stored teacher logits and prefix outputs against computing them again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.harness import Benchmark, Comparison
from structkd.adapters import HybridAdapter
from structkd.datasets import Images
from structkd.distillers import M2mKD
from structkd.engine.teachers import LiveTeacher, StoredTeacher, Teacher
from structkd.models import Hybrid, ViT
from structkd.structure import Structure

#: Size -> teacher's width and blocks, student's, heads, image size, patch size, images in a batch and in the store.
SHAPES = {"small": (32, 8, 16, 4, 2, 8, 2, 16, 64), "full": (192, 12, 96, 8, 3, 32, 4, 32, 96)}
MODULES = 4
SPLIT = "blocks.{}"
Sides = tuple[Callable[[], Sequence[Tensor]], Callable[[], Sequence[Tensor]]]


class Pair(NamedTuple):
    """Both hybrids of one index, and a batch out of the images that the store was computed for."""

    student: Hybrid
    teacher: LiveTeacher
    stored: StoredTeacher
    batch: Images


def pair(index: int, size: str) -> Pair:
    width, depth, thin, blocks, heads, pixels, patch, batch, total = SHAPES[size]
    torch.manual_seed(0)

    def vit(channels: int, count: int) -> ViT:
        return ViT(10, width=channels, depth=count, heads=heads, image_size=pixels, patch_size=patch)

    def splits(count: int) -> list[str]:
        return [SPLIT.format(i * count // MODULES) for i in range(1, MODULES)]

    meta, inner = vit(width, MODULES), splits(MODULES)
    teacher = Hybrid(meta, vit(width, depth), index, splits(depth), inner, "none", image_size=pixels)
    student = Hybrid(meta, vit(thin, blocks), index, splits(blocks), inner, image_size=pixels).train()
    live = LiveTeacher(teacher, HybridAdapter(fields=["prefix"]))
    images = Images(images=torch.randn(total, 3, pixels, pixels), n_id=torch.arange(total))
    parts = [live(Images(images=x, n_id=n)) for x, n in zip(images.images.split(batch), images.n_id.split(batch))]
    fields = {name: torch.cat([part[name] for part in parts]) for name in ("logits", "prefix", "n_id")}
    rows = torch.randperm(total)[:batch]
    return Pair(student, live, StoredTeacher(Structure(**fields)), Images(images=images.images[rows], n_id=rows))


def step(data: Pair, teacher: Teacher, shared: bool) -> list[Tensor]:
    """Loss and gradients of the student's module; `shared`: the student takes the prefix that the teacher has."""
    target = teacher(data.batch)
    batch = Images(images=data.batch.images, n_id=data.batch.n_id)
    if shared:
        batch.prefix = target.prefix
    adapter = HybridAdapter()
    adapter._compared = True  # that check is made once a training, not once a step
    loss = M2mKD()(adapter(data.student, batch), target)["soft_label"]
    weights = [p for p in data.student.parameters() if p.requires_grad]
    return [loss.detach(), *torch.autograd.grad(loss, weights)]


def shared_sides(index: int, size: str) -> Sides:
    data = pair(index, size)
    return partial(step, data, data.teacher, False), partial(step, data, data.teacher, True)


def stored_sides(index: int, size: str) -> Sides:
    data = pair(index, size)
    return partial(step, data, data.teacher, False), partial(step, data, data.stored, True)


def pair_benchmarks() -> list[Benchmark]:
    found: list[Benchmark] = []
    for index in (1, MODULES - 1):
        found += [
            Comparison(
                f"pair {index}, prefix shared by teacher and student",
                partial(shared_sides, index),
                about="loss and gradients of a batch; both hybrids run the frozen prefix, or the student takes it from "
                "the teacher's pass (new views in every epoch)",
            ),
            Comparison(
                f"pair {index}, prefix and teacher stored",
                partial(stored_sides, index),
                about="the same against logits and prefix outputs looked up by id (views that come again)",
            ),
        ]
    return found
