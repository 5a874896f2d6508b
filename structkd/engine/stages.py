"""Stages: train one model after another, each resumable, artefacts passed by stage name."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier, broadcast_object_list, get_rank, get_world_size, is_main_process

from structkd.engine.checkpoint import save
from structkd.engine.config import plain_config
from structkd.engine.hooks import HistoryHook, ProgressHook, ResumeHook, SelectionHook, TaskHook, bare
from structkd.engine.locks import alone
from structkd.engine.outputs import store_outputs
from structkd.engine.parts import STUDENT_FORMAT
from structkd.engine.runner import Runner
from structkd.engine.stage import Stage
from structkd.engine.task import DistillTask
from structkd.engine.upstream import BuiltOn
from structkd.errors import ConfigError, located
from structkd.evaluation.efficiency import count_parameters
from structkd.files import atomic_write_json

logger = logging.getLogger("structkd")


@dataclass
class Switches:
    """What the command line decides beside the config."""

    resume: bool = False
    resume_from: str | None = None
    amp: bool = False
    launcher: str = "none"


class StageRun(Stage):
    """A stage while it runs: trained, or taken up again, or skipped where it is complete."""

    def lock(self) -> AbstractContextManager[None]:
        """Within the block no other process runs the stage; an error that names it where one does."""
        return alone(self.folder / "lock", self.label)

    def forget(self) -> None:
        """Remove what says how far an earlier run came, so that nobody takes it for this run's. Needs the `lock`."""
        for file in (self.result_file, self.folder / "last.pth"):
            file.unlink(missing_ok=True)

    def require(self, amp: bool, reader: str) -> None:
        """Raise a `ConfigError` unless an earlier run of the work dir completed this stage, which `reader` names."""
        if self.complete(self.identity(amp)) is None:
            raise ConfigError(
                f"{reader} names the stage '{self.name}', which does not run before it, and {self.folder} holds no "
                f"result of it from an earlier run. Run it first, or with the others: run=[{self.name},...]."
            )

    def run(self, switches: Switches) -> dict[str, Any]:
        """Train (or take up again, or skip what is complete), evaluate, store outputs; returns the stage's result."""
        with located(self.where):
            return self._run(switches)

    def _run(self, switches: Switches) -> dict[str, Any]:
        identity = self.identity(switches.amp)
        if (result := self._ended(switches, identity)) is not None:
            return result
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.lock():
            # Since that look another process may have ended the stage, or have left something of its own there.
            if (result := self._ended(switches, identity)) is not None:
                return result
            if is_main_process() and not switches.resume:
                self.forget()
            return self._finish(switches, identity)

    def _ended(self, switches: Switches, identity: Mapping[str, str]) -> dict[str, Any] | None:
        """The result to take up, if there is one. All processes of a run go by what the first of them finds."""
        if not switches.resume:
            return None
        found = [self.complete(identity)]
        broadcast_object_list(found)
        if found[0] is not None:
            logger.info("%s  already complete, skipped", self.label)
        return found[0]

    def _finish(self, switches: Switches, identity: Mapping[str, str]) -> dict[str, Any]:
        started = time.monotonic()
        built_on = self.built_on()
        task, training, last = self._train(switches, identity, built_on)
        metrics = self.evaluate(task)
        if self.data.reports_last:
            metrics |= self._last_metrics(task, metrics, last)
        result = {
            "stage": self.name,
            "seed": self.seed,
            **identity,
            "built_on": built_on.weights,
            "metrics": metrics,
            **training,
            "seconds": round(time.monotonic() - started, 2),
            "parameters": count_parameters(task.student),
            **(self.data.costs(task.student.eval(), task.adapter) if is_main_process() else {}),
        }
        if is_main_process():
            save(
                {
                    "format": STUDENT_FORMAT,
                    "stage": self.name,
                    "seed": self.seed,
                    "model": plain_config(dict(self.config["model"])),
                    "facts": self.data.facts,
                    "state_dict": task.student.state_dict(),
                },
                self.folder / "student.pth",
            )
            teaches = self.data.stores_outputs and self.config.get("role") in ("teacher", "auxiliary")
            if self.config.get("store_outputs", teaches):
                store_outputs(task, self.data, self.folder, self._made_by(task.student.state_dict()))
            atomic_write_json(self.result_file, result)
        barrier()
        scores = "  ".join(f"{key} {value:.4f}" for key, value in metrics.items() if "detail/" not in key)
        logger.info("%s  done: %s  (best epoch %s)", self.label, scores, training["selected"]["epoch"])
        return result

    def _last_metrics(
        self, task: DistillTask, metrics: Mapping[str, float], last: Mapping[str, Any] | None
    ) -> dict[str, float]:
        """`last/...` for every `test/...`: the metrics of the weights that training ended with."""
        if last is not None:
            selected = copy.deepcopy(task.student.state_dict())
            task.student.load_state_dict(last)
            metrics = self.evaluate(task)
            task.student.load_state_dict(selected)
        return {f"last/{name[5:]}": value for name, value in metrics.items() if name.startswith("test/")}

    def _train(
        self, switches: Switches, identity: Mapping[str, str], built_on: BuiltOn
    ) -> tuple[DistillTask, dict[str, Any], Mapping[str, Any] | None]:
        """The task with its selected weights, how they were selected, and the last weights where those are others."""
        if "train_cfg" not in self.config:  # nothing to learn (a heuristic), or learnt before
            return (
                self.build_task(),
                {
                    "selected": {"metric": self.data.selection.get("metric"), "score": None, "epoch": 0},
                    "epochs": 0,
                },
                None,
            )
        runner, selection = self._runner(switches, identity, built_on)
        runner.train()
        chosen = selection.chosen(runner.epoch)
        return bare(runner.model), {"selected": chosen, "epochs": runner.epoch}, selection.last

    def _runner(
        self, switches: Switches, identity: Mapping[str, str], built_on: BuiltOn
    ) -> tuple[Runner, SelectionHook]:
        task = self.build_task()
        config = self.config
        selection = self.build_selection()
        resume_from = switches.resume_from
        # A checkpoint given by hand belongs to one stage only; the others take up their own.
        own = resume_from is not None and Path(resume_from).resolve().parent == self.folder.resolve()
        where = f"{self.where}.train_dataloader"
        train_loader = self.data.train_loader(
            config.get("train_dataloader"), where, self.seed, get_rank(), get_world_size()
        )
        val_loader = self.data.eval_loader("val")
        validated = val_loader is not None
        runner = Runner(
            model=task,
            work_dir=str(self.folder),
            train_dataloader=train_loader,
            val_dataloader=val_loader,
            train_cfg={"by_epoch": True, **config["train_cfg"]},
            val_cfg={} if validated else None,
            val_evaluator=self.data.metrics() if validated else None,
            optim_wrapper=self.optim_config(switches.amp),
            param_scheduler=self.schedulers(config["train_cfg"]["max_epochs"] * len(train_loader)),
            default_hooks={"logger": None, "checkpoint": None, "timer": None, "sampler_seed": None},
            custom_hooks=[
                TaskHook(),
                selection,
                built_on,
                HistoryHook(),
                ProgressHook(self.label),
                ResumeHook(config.get("checkpoint_interval", 20)),
                *self.build_hooks(),
            ],
            load_from=resume_from if own else None,
            resume=switches.resume,
            launcher=switches.launcher,
            env_cfg=self.top.get("env_cfg", {"dist_cfg": {"backend": "nccl" if torch.cuda.is_available() else "gloo"}}),
            log_level=self.top.get("log_level", "WARNING"),
            visualizer=self.top.get("visualizer", _visualizer()),
            default_scope=self.top.get("default_scope", "mmengine"),
            randomness={"seed": self.seed},
            experiment_name=f"{self.name}_{self.seed}_{time.monotonic_ns()}",
            cfg=Config({"identity": identity, "where": self.where}),
        )
        return runner, selection

    def evaluate(self, task: DistillTask, out: Path | None = None) -> dict[str, float]:
        """The test metrics of the selected weights; the predictions go into the folder `out`, if one is given."""
        task.eval()
        metrics: dict[str, float] = {}
        for metric in self.data.metrics():
            for batch in self.data.eval_loader("test") or ():
                with torch.no_grad():
                    metric.process(batch, task.val_step(batch))
            if out is not None:
                metric.write(out)
            metrics |= metric.evaluate(1)
        return metrics


def _visualizer() -> dict[str, Any]:
    backends: list[dict[str, str]] = []
    try:
        import tensorboard  # noqa: F401

        backends.append({"type": "TensorboardVisBackend"})
    except ImportError:
        pass
    return {"type": "Visualizer", "vis_backends": backends}
