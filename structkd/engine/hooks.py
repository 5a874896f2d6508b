"""Hooks of the training loop: progress of the task, choice of the best weights, history, resuming."""

from __future__ import annotations

import copy
import json
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import nn

from structkd.engine.checkpoint import random_state, restore_random_state
from structkd.errors import ConfigError, TrainingError, nearest
from structkd.files import atomic_write_text

__all__ = ["HistoryHook", "ProgressHook", "ResumeHook", "SelectionHook", "TaskHook"]

logger = logging.getLogger("structkd")


def bare(model: nn.Module) -> Any:
    """The task inside a distributed wrapper, or the task itself."""
    return model.module if is_model_wrapper(model) else model


def numbers(outputs: Mapping[str, Any] | None) -> dict[str, float]:
    """The scalars a training step reports, as floats."""
    return {
        key: float(value.detach() if isinstance(value, torch.Tensor) else value)
        for key, value in (outputs or {}).items()
    }


class TaskHook(Hook):
    """Tells the task and the loader the epoch, and lets momentum teachers follow each step."""

    priority = "VERY_HIGH"

    def before_train_epoch(self, runner: Any) -> None:
        bare(runner.model).set_progress(runner.epoch, runner.max_epochs)
        if hasattr(runner.train_dataloader, "set_epoch"):
            runner.train_dataloader.set_epoch(runner.epoch)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        values = numbers(outputs)
        if not math.isfinite(values.get("loss", 0.0)):
            parts = ", ".join(f"{key} {value:.4g}" for key, value in values.items())
            raise TrainingError(f"The loss is not finite in epoch {runner.epoch + 1}: {parts}. Training stops here.")
        bare(runner.model).after_step()


class SelectionHook(Hook):
    """Keeps the student's weights of the best validation score and stops when it no longer improves.

    Args:
        metric: validation metric; selection never sees test data.
        rule: "greater", "less", or "last": the weights training ends with, as detectors are reported.
        patience: evaluations without a new best after which training stops; `None` never stops.
        ties: "latest" (an equal score is a new best, as in the CPF/GLNN protocol) or "earliest". A tie restores
            patience only with "latest".

    State is part of the checkpoint, so a resumed run selects as an unbroken one does.
    """

    priority = "NORMAL"

    def __init__(
        self, metric: str = "val/accuracy", rule: str = "greater", patience: int | None = None, ties: str = "latest"
    ) -> None:
        if rule not in ("greater", "less", "last") or ties not in ("latest", "earliest"):
            raise ConfigError(
                f"rule is 'greater', 'less' or 'last', ties 'latest' or 'earliest'; got '{rule}' and '{ties}'."
            )
        self.metric, self.rule, self.patience, self.ties = metric, rule, patience, ties
        self.best: dict[str, Any] = {"score": None, "epoch": 0, "waited": 0, "weights": None}
        #: The weights that training ended with, where others were selected.
        self.last: dict[str, Any] | None = None

    def chosen(self, last_epoch: int) -> dict[str, Any]:
        """What the weights were chosen by, and from which epoch they are."""
        if self.rule == "last":
            return {"metric": None, "score": None, "epoch": last_epoch}
        return {"metric": self.metric, "score": self.best["score"], "epoch": self.best["epoch"]}

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if self.rule == "last":
            return
        if not metrics or self.metric not in metrics:
            raise ConfigError(
                f"Selection looks at '{self.metric}', which the evaluation does not give. "
                + nearest(self.metric, metrics or ())
            )
        # Each process has its own running statistics; they must not choose, or stop, at different epochs.
        scores = [float(metrics[self.metric])]
        broadcast_object_list(scores)
        score = scores[0]
        if self._improves(score):
            weights = copy.deepcopy(bare(runner.model).student.state_dict())
            self.best = {"score": score, "epoch": runner.epoch, "waited": 0, "weights": weights}
        else:
            self.best["waited"] += 1
            self._stop_when_waited(runner)

    def _stop_when_waited(self, runner: Any) -> None:
        if self.patience is not None and self.best["waited"] >= self.patience:
            runner.train_loop.stop_training = True

    def _improves(self, score: float) -> bool:
        best = self.best["score"]
        if best is None:
            return True
        if score == best:
            return self.ties == "latest"
        return score > best if self.rule == "greater" else score < best

    def after_train(self, runner: Any) -> None:
        if self.best["weights"] is not None:
            student = bare(runner.model).student
            if self.best["epoch"] != runner.epoch:
                self.last = copy.deepcopy(student.state_dict())
            student.load_state_dict(self.best["weights"])

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["selection"] = self.best

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        self.best = checkpoint.get("selection", self.best)
        self._stop_when_waited(runner)  # the run may have been killed after its last epoch, before its result


class HistoryHook(Hook):
    """Writes one line an epoch to `scalars.jsonl` and to the runner's visualiser (TensorBoard when installed)."""

    priority = "BELOW_NORMAL"

    def __init__(self) -> None:
        self.lines: list[dict[str, float]] = []
        self._sums: dict[str, float] = {}
        self._count = 0

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        for key, value in numbers(outputs).items():
            self._sums[f"train/{key}"] = self._sums.get(f"train/{key}", 0.0) + value
        self._count += 1

    def after_train_epoch(self, runner: Any) -> None:
        line = {"epoch": runner.epoch + 1}
        line |= {key: value / max(self._count, 1) for key, value in self._sums.items()}
        self.lines.append(line)
        self._sums, self._count = {}, 0

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if self.lines:
            self.lines[-1] |= {key: float(value) for key, value in (metrics or {}).items()}
            runner.visualizer.add_scalars({k: v for k, v in self.lines[-1].items() if k != "epoch"}, step=runner.epoch)

    def after_train(self, runner: Any) -> None:
        self.write(Path(runner.work_dir))

    def write(self, folder: Path) -> None:
        """Write `scalars.jsonl` into `folder`."""
        if is_main_process():
            atomic_write_text(folder / "scalars.jsonl", "".join(json.dumps(line) + "\n" for line in self.lines))

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.lines

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        self.lines = list(checkpoint.get("history", ()))


class ProgressHook(Hook):
    """Logs progress with loss, validation score and time left, about `lines` times a stage."""

    priority = "LOW"

    def __init__(self, label: str = "", lines: int = 5, seconds: float = 30.0) -> None:
        self.label, self.number, self.seconds = label, lines, seconds
        self._started = self._last = 0.0
        self._first_epoch = 0
        self._loss = math.nan

    def before_train(self, runner: Any) -> None:
        self._started = self._last = time.monotonic()
        self._first_epoch = runner.epoch

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self._loss = numbers(outputs).get("loss", math.nan)
        steps = len(runner.train_dataloader)
        if steps > 1 and time.monotonic() - self._last > self.seconds:
            self._log(runner, runner.epoch + (batch_idx + 1) / steps, "")

    def after_train_epoch(self, runner: Any) -> None:
        epoch = runner.epoch + 1
        every = max(1, runner.max_epochs // self.number)
        if runner.val_loop is None and (epoch % every == 0 or time.monotonic() - self._last > self.seconds):
            self._log(runner, epoch, "")

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        every = max(1, runner.max_epochs // self.number)
        if runner.epoch % every == 0 or time.monotonic() - self._last > self.seconds:
            shown = {key: value for key, value in (metrics or {}).items() if "detail/" not in key}
            self._log(runner, runner.epoch, "  ".join(f"{key} {value:.4f}" for key, value in shown.items()))

    def _log(self, runner: Any, epoch: float, scores: str) -> None:
        self._last = time.monotonic()
        done = max(epoch - self._first_epoch, 1e-9)
        left = (self._last - self._started) / done * (runner.max_epochs - epoch)
        logger.info(
            "%s  epoch %g/%d  loss %.4f  %s  at most %s left",
            self.label, round(epoch, 2), runner.max_epochs, self._loss, scores, _clock(left),
        )  # fmt: skip


def _clock(seconds: float) -> str:
    seconds = round(seconds)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


class ResumeHook(Hook):
    """Saves `last.pth` after an epoch's validation, with the state of every random generator of every process.

    Args:
        interval: epochs between two checkpoints; one more is written when training ends, and after any epoch that ends
            more than `SECONDS` after the last one was written: epochs may take minutes.
    """

    priority = "LOWEST"
    SECONDS = 120.0

    def __init__(self, interval: int = 10) -> None:
        if interval < 1:
            raise ConfigError(f"checkpoint_interval={interval}; expected at least 1 epoch between two checkpoints.")
        self.interval, self.written = interval, time.monotonic()
        self._random: list[dict[str, Any]] = []

    def after_train_epoch(self, runner: Any) -> None:
        done = runner.epoch + 1
        if runner.val_loop is None and self._due(done, runner):
            self._save(runner, done)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        # The loop counts an epoch as done before it validates; a checkpoint written here includes the choice
        # of the best weights that this validation made.
        if self._due(runner.epoch, runner):
            self._save(runner, runner.epoch)

    def _due(self, done: int, runner: Any) -> bool:
        late = [time.monotonic() - self.written > self.SECONDS]
        broadcast_object_list(late)  # all processes save together, so one clock decides
        return late[0] or done % self.interval == 0 or done == runner.max_epochs

    def _save(self, runner: Any, epoch: int) -> None:
        # Processes draw differently as soon as their parts of a batch differ in size.
        self._random = all_gather_object(random_state())
        runner.save_checkpoint(runner.work_dir, "last.pth", meta={"epoch": epoch, "iter": runner.iter})
        self._random = []
        self.written = time.monotonic()

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["random"], *others = self._random or [random_state()]
        if others:
            checkpoint["random_of_others"] = others
        checkpoint["teachers"] = {name: t.state_dict() for name, t in bare(runner.model).teachers.items()}

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        for name, state in checkpoint.get("teachers", {}).items():
            if state and name in bare(runner.model).teachers:
                bare(runner.model).teachers[name].load_state_dict(state)

    def before_train(self, runner: Any) -> None:
        # Last of all hooks, so that nothing between loading and training draws from the restored generators.
        state = runner.resumed_random_state
        if state is not None:
            restore_random_state(state)
