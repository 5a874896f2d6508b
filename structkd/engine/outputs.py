"""What a finished stage keeps of its model's outputs for the stages that follow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import barrier, is_main_process

from structkd.engine.cache import TeacherCache
from structkd.engine.cache_tables import StaleCacheError
from structkd.engine.checkpoint import random_state, restore_random_state
from structkd.engine.data import DataModule
from structkd.engine.task import DistillTask
from structkd.evaluation.codes import analyze_codes
from structkd.files import atomic_write_json
from structkd.structure import Structure
from structkd.visualization import plot_codes

logger = logging.getLogger("structkd")


@torch.no_grad()
def store_outputs(task: DistillTask, data: DataModule, folder: Path, made_by: str = "") -> None:
    """Run the selected model over everything observed and store what its adapter reads in `folder/outputs`.

    `made_by` is the fingerprint of what the outputs depend on, see `TeacherCache.write`.
    """
    task.eval()

    def parts(done: int) -> Iterator[Structure]:
        for batch in islice(data.observed_batches(), done, None):
            yield task.adapter.compact(task.val_structure(batch))

    cache = TeacherCache(folder / "outputs")
    cache.write(parts, data.observed_graph, made_by)
    if {"codes", "codebook"} <= task.adapter.provides:
        structure = cache.load(data.observed_graph, made_by)
        _analyze_codes(structure, next(iter(data.observed_batches())).y, folder)


def stored_outputs(
    data: DataModule, folder: Path, made_by: str, trained: Callable[[], DistillTask], label: str
) -> Structure:
    """What `store_outputs` left in `folder/outputs`; computed again where that is missing or damaged.

    Args:
        made_by: as `store_outputs` was given.
        trained: makes the task with the selected weights, where it is needed.
        label: of the stage, for the log.

    Raises:
        CheckpointError: the outputs were computed from other data than are observed now.
    """
    cache = TeacherCache(folder / "outputs")
    if is_main_process():
        try:
            cache.load(data.observed_graph, made_by)
        except StaleCacheError as error:
            logger.warning("%s  %s The outputs are computed again.", label, error)
            random = random_state()  # the stage that asks has drawn its first weights, and goes on from there
            store_outputs(trained().to(get_device()), data, folder, made_by)
            restore_random_state(random)
    barrier()
    return cache.load(data.observed_graph, made_by)


def _analyze_codes(structure: Structure, labels: Any, folder: Path) -> None:
    """How evenly the codes are used, and what they say about the labels that training saw."""
    size = structure.codebook.size(0)
    atomic_write_json(folder / "codes.json", analyze_codes(structure.codes, size, labels).to_dict())
    (folder / "figures").mkdir(exist_ok=True)
    plot_codes(structure.codes, size, folder / "figures" / "codes.png", labels)
