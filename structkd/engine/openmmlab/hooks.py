"""Hooks of a distilling run in mmdet3d's runner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from structkd.engine.checkpoint import random_state, restore_random_state
from structkd.engine.hooks import bare
from structkd.engine.openmmlab.checkpoints import read_checkpoint
from structkd.engine.openmmlab.export import export_student
from structkd.errors import WiringError


class GeneratorsHook(Hook):
    """Keeps the state of the random generators in checkpoints, and puts it back when a run is resumed.

    mmengine starts the generators anew, so that a resumed run would augment its frames as the first epochs did. Worker
    processes of a loader have generators of their own, which start anew all the same: resuming is exact with
    `num_workers=0`.
    """

    priority = "LOWEST"  # last to act before training, so that nothing draws in between

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["random"] = random_state()

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        if runner._resume:  # a checkpoint that training merely starts from has nothing to say here
            self._restored = checkpoint.get("random")

    def before_train(self, runner: Any) -> None:
        if self._restored is not None:
            restore_random_state(self._restored)
            self._restored = None


class DistillHook(Hook):
    """Tells schedules the epoch, checks that teacher and student name the classes alike, and exports the student.

    When training ends, `student.pth` and `student.py` in the work dir are the student alone: its checkpoint and its
    config for plain mmdet3d. The weights are those of the last checkpoint (with EMA, the averaged ones), or those at
    hand where none was saved.
    """

    priority = "VERY_LOW"

    def before_train(self, runner: Any) -> None:
        task = bare(runner.model)
        learnt = (getattr(runner.train_dataloader.dataset, "metainfo", None) or {}).get("classes")
        for name, teacher in task.teachers.items():
            known = getattr(teacher, "classes", None)
            if known is not None and learnt is not None and tuple(known) != tuple(learnt):
                raise WiringError(
                    f"The {name}'s checkpoint was trained on the classes {', '.join(known)}, the dataset has "
                    f"{', '.join(learnt)}: scores of the two would not mean the same. Give the dataset these classes, "
                    "in this order (metainfo=dict(classes=...))."
                )

    def before_train_epoch(self, runner: Any) -> None:
        bare(runner.model).set_progress(runner.epoch, runner.max_epochs or 1)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        bare(runner.model).after_step()

    def after_train(self, runner: Any) -> None:
        if not is_main_process():
            return
        noted = Path(runner.work_dir) / "last_checkpoint"
        last = Path(noted.read_text().strip()) if noted.is_file() else None
        if last is not None and last.is_file():
            checkpoint = read_checkpoint(last)
        else:
            checkpoint = {"state_dict": bare(runner.model).state_dict(), "meta": {"epoch": runner.epoch}}
        meta = checkpoint.setdefault("meta", {})
        meta.setdefault("dataset_meta", getattr(runner.train_dataloader.dataset, "metainfo", {}))
        paths = export_student(runner.cfg, checkpoint, Path(runner.work_dir))
        runner.logger.info(f"The student alone, for plain mmdet3d: {paths[0]} with the config {paths[1]}")
