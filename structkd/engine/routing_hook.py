"""How routers spread their tokens, epoch by epoch."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import Tensor

from structkd.engine.hooks import bare
from structkd.errors import ConfigError
from structkd.evaluation.routing import RoutingCounts
from structkd.files import atomic_write_text
from structkd.models import Routing, recorded

__all__ = ["RoutingHook"]

#: Where the lines are written in a stage's folder.
FILE = "routing.jsonl"


class RoutingHook(Hook):
    """Writes what each router did in an epoch of training to `routing.jsonl` and to the runner's visualiser.

    A line an epoch: `epoch`, and for each router by its module path what `RoutingCounts.summary` says (load, evenness,
    entropy, dropped share; with labels in the batch also loads by class). The visualiser gets the numbers as
    `routing/PATH/NAME` (load: `routing/PATH/load_E`). `tools/visualize.py experts` draws the file.

    Args:
        interval: epochs between two lines; the first epoch always has one.

    With several processes the lines are of the main one's share of the batches. The lines are part of a checkpoint, so
    a resumed run writes the whole file.
    """

    priority = "BELOW_NORMAL"

    def __init__(self, interval: int = 1) -> None:
        if interval < 1:
            raise ConfigError(f"RoutingHook(interval={interval}): expected at least 1 epoch between two lines.")
        self.interval = interval
        self.lines: list[dict[str, Any]] = []
        self._counts: dict[str, RoutingCounts] = {}
        self._records: dict[str, Any] = {}
        self._open = ExitStack()

    def before_train_epoch(self, runner: Any) -> None:
        if runner.epoch % self.interval == 0:
            self._counts = {}
            self._records = self._open.enter_context(recorded(bare(runner.model).student))

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        labels = getattr(data_batch, "y", None)
        for path, routing in self._records.items():
            if isinstance(routing, Routing):
                counts = self._counts.setdefault(path, RoutingCounts(routing.num_experts))
                counts.add(routing.expert, routing.kept, routing.probs, _token_labels(routing, labels))
        self._records.clear()

    def after_train_epoch(self, runner: Any) -> None:
        self._open.close()
        self._records = {}
        if not self._counts:
            return
        line = {path: counts.summary() for path, counts in self._counts.items()}
        self.lines.append({"epoch": runner.epoch + 1, **line})
        self._counts = {}
        runner.visualizer.add_scalars(_scalars(line), step=runner.epoch + 1)

    def after_train(self, runner: Any) -> None:
        self._open.close()
        if is_main_process() and self.lines:
            text = "".join(json.dumps(line) + "\n" for line in self.lines)
            atomic_write_text(Path(runner.work_dir) / FILE, text)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["routing"] = self.lines

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        self.lines = list(checkpoint.get("routing", ()))


def _token_labels(routing: Routing, labels: Any) -> Tensor | None:
    """[N] the class of each token's sample, where the batch has one class a sample."""
    if not isinstance(labels, Tensor) or labels.dim() != 1 or labels.shape != routing.shape[:1]:
        return None
    device = routing.expert.device
    return labels.to(device).repeat_interleave(torch.Size(routing.shape[1:]).numel())


def _scalars(line: dict[str, dict[str, Any]]) -> dict[str, float]:
    values = {}
    for path, found in line.items():
        for name in ("evenness", "entropy", "dropped", "class_information"):
            if name in found:
                values[f"routing/{path}/{name}"] = found[name]
        values |= {f"routing/{path}/load_{number}": share for number, share in enumerate(found["load"])}
    return values
