"""Stages: train one model after another, each resumable, artefacts passed by stage name."""

from __future__ import annotations

import copy
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier, get_rank, get_world_size, is_main_process
from mmengine.runner.utils import set_random_seed
from torch import nn

from structkd.adapters import Adapter
from structkd.engine.amp import BFloat16OptimWrapper
from structkd.engine.cache import model_fingerprint
from structkd.engine.checkpoint import load, save
from structkd.engine.config import plain_config
from structkd.engine.data import DataModule
from structkd.engine.hooks import HistoryHook, ProgressHook, ResumeHook, SelectionHook, TaskHook, bare
from structkd.engine.locks import alone
from structkd.engine.objectives import Objective
from structkd.engine.one_cycle import with_cycles
from structkd.engine.outputs import store_outputs, stored_outputs
from structkd.engine.parts import (
    STUDENT_FORMAT,
    assemble,
    build_adapter,
    build_model,
    initialise,
    load_student_weights,
)
from structkd.engine.registry import DISTILLERS, HOOKS, OBJECTIVES, build, find_part
from structkd.engine.runner import Runner
from structkd.engine.schedules import weight
from structkd.engine.task import Comparison, DistillTask
from structkd.engine.teachers import LiveTeacher, Teacher
from structkd.errors import CheckpointError, ConfigError, located, reason
from structkd.evaluation.efficiency import count_parameters
from structkd.files import atomic_write_json
from structkd.structure import Structure

logger = logging.getLogger("structkd")


@dataclass
class Switches:
    """What the command line decides beside the config."""

    resume: bool = False
    resume_from: str | None = None
    amp: bool = False
    launcher: str = "none"


class StageRun:
    """One stage under one seed.

    Args:
        name: stage name.
        config: the stage's config.
        data: the data module, set up for the seed.
        seed: of this run; each stage starts from it anew, so that students of different methods share their
            initialisation.
        folder: the seed's folder; the stage writes into `folder/name`.
        top: the whole config, for what all stages share.
    """

    def __init__(
        self, name: str, config: Mapping[str, Any], data: DataModule, seed: int, folder: Path, top: Config
    ) -> None:
        self.name, self.config, self.data, self.seed = name, config, data, seed
        self.seed_folder, self.folder, self.top = folder, folder / name, top
        self.where = f"stages.{name}"

    # -- parts ---------------------------------------------------------------------------------------------

    def build_model(self) -> nn.Module:
        return build_model(
            self.config["model"], f"{self.where}.model", self.data.facts, lambda name: self.earlier(name).load_model()
        )

    def build_adapter(self) -> Adapter:
        return build_adapter(self.config.get("adapter"), f"{self.where}.adapter", self.data.adapter)

    def earlier(self, name: str) -> StageRun:
        """An earlier stage of the same seed."""
        stages = {**self.top.get("taken", {}), **self.top.stages}
        return type(self)(name, stages[name], self.data, self.seed, self.seed_folder, self.top)

    def build_teachers(self) -> dict[str, Teacher]:
        return {
            name: self._teacher(source, f"{self.where}.teachers.{name}")
            for name, source in self.config.get("teachers", {}).items()
        }

    def _teacher(self, source: Mapping[str, Any], where: str) -> Teacher:
        if "stage" in source and "adapter" not in source:
            return self.stage_teacher(source["stage"])
        if "file" in source:
            return self.data.file_teacher(source["file"], dict(source.get("keys", {"logits": "logits"})))
        if "stage" in source:  # read in another way than its stage was, so not from what that stored
            model = self.earlier(source["stage"]).load_model()
        else:
            model = build_model(source["model"], f"{where}.model", self.data.facts)
        if "checkpoint" in source:
            load_student_weights(model, source["checkpoint"])
        adapter = build_adapter(source.get("adapter"), f"{where}.adapter", self.data.adapter)
        return LiveTeacher(model, adapter, momentum=source.get("momentum"))

    def stage_teacher(self, name: str) -> Teacher:
        return self.data.stage_teacher(self.earlier(name))

    def build_comparisons(self, teachers: Mapping[str, Teacher]) -> dict[str, Comparison]:
        comparisons = {}
        for name, config in self.config.get("distillers", {}).items():
            where = f"{self.where}.distillers.{name}"
            arguments = dict(config)
            scale = weight(arguments.pop("weight", 1.0), f"{where}.weight")
            teacher = arguments.pop("teacher", next(iter(teachers), None))
            distiller = build(DISTILLERS, arguments, where)
            comparisons[name] = Comparison(distiller, teacher, scale)
        return comparisons

    def build_objective(self) -> Objective:
        config = self.config.get("objective")
        return build(OBJECTIVES, config, f"{self.where}.objective") if config else self.data.objective()

    def build_task(self) -> DistillTask:
        set_random_seed(self.seed)
        student = self.build_model()
        start = self.config.get("init_from")
        if start is not None:
            self._initialise(student, {"stage": start} if isinstance(start, str) else start)
        teachers = self.build_teachers()
        return DistillTask(
            student,
            self.build_adapter(),
            self.build_objective(),
            self.config.get("objective_weight", 1.0),
            self.build_comparisons(teachers),
            teachers,
            self.config.get("inputs"),
        )

    def _initialise(self, student: nn.Module, start: Mapping[str, Any]) -> None:
        if "parts" in start:
            sources = {name: self.earlier(name).load_model() for name in start["parts"]}
            assemble(student, sources, start["parts"])
            return
        source = f"init_from='{start['stage']}'"
        initialise(student, self.earlier(start["stage"]).load_model(), source, start.get("narrow"))

    def build_selection(self) -> SelectionHook:
        settings = {"type": "SelectionHook", **self.data.selection, **self.config.get("selection", {})}
        return build(HOOKS, settings, f"{self.where}.selection")

    def build_hooks(self) -> list[dict[str, Any]]:
        """The stage's own hooks as mmengine takes them, with names of ours resolved."""
        return [
            {**hook, "type": find_part(HOOKS, hook, f"{self.where}.custom_hooks.{number}")}
            for number, hook in enumerate(self.config.get("custom_hooks", []))
        ]

    def optim_config(self, amp: bool) -> dict[str, Any]:
        return {**self.config["optim_wrapper"], **({"type": BFloat16OptimWrapper} if amp else {})}

    def schedulers(self, steps: int) -> Any:
        """`param_scheduler` as mmengine takes it, for a training of so many iterations."""
        lr = self.config["optim_wrapper"]["optimizer"].get("lr", 1e-3)
        where = f"{self.where}.param_scheduler"
        return with_cycles(self.config.get("param_scheduler"), lr, steps, where)

    # -- running -------------------------------------------------------------------------------------------

    @property
    def result_file(self) -> Path:
        return self.folder / "result.json"

    def forget(self) -> None:
        """Remove what says how far an earlier run came, so that nobody takes it for this run's."""
        for file in (self.result_file, self.folder / "last.pth"):
            file.unlink(missing_ok=True)

    def identity(self, amp: bool) -> dict[str, str]:
        """What a result or a checkpoint must agree with to be taken up again."""
        config = {**self.config, **({"amp": True} if amp else {})}
        return {
            "config_text": json.dumps(plain_config(config), sort_keys=True),
            "data_text": json.dumps(plain_config(self.top["data"]), sort_keys=True),
        }

    def complete(self, identity: Mapping[str, str]) -> dict[str, Any] | None:
        """The result of a run that ended, if there is one; an error if it was a run of something else."""
        if not self.result_file.is_file():
            return None
        try:
            result = json.loads(self.result_file.read_text())
        except ValueError as error:
            raise CheckpointError(
                f"{self.result_file} is damaged ({reason(error)}). Remove it to run the stage again."
            ) from error
        for key, text in identity.items():
            if result.get(key, text) != text:
                raise CheckpointError(
                    f"{self.result_file} belongs to another config of stage '{self.name}' or of its data. "
                    "Choose another --work-dir, or restore the config to resume."
                )
        return result

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
        result = self.complete(identity) if switches.resume else None
        if result is not None:
            logger.info("%s  already complete, skipped", self.label)
            return result
        self.folder.mkdir(parents=True, exist_ok=True)
        with alone(self.folder / "lock", self.label):
            return self._finish(switches, identity)

    def _finish(self, switches: Switches, identity: Mapping[str, str]) -> dict[str, Any]:
        started = time.monotonic()
        task, training, last = self._train(switches, identity)
        metrics = self.evaluate(task)
        if self.data.reports_last:
            metrics |= self._last_metrics(task, metrics, last)
        result = {
            "stage": self.name,
            "seed": self.seed,
            **identity,
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

    @property
    def label(self) -> str:
        return f"[seed {self.seed}] {self.name}"

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
        self, switches: Switches, identity: Mapping[str, str]
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
        runner, selection = self._runner(switches, identity)
        runner.train()
        chosen = selection.chosen(runner.epoch)
        return bare(runner.model), {"selected": chosen, "epochs": runner.epoch}, selection.last

    def _runner(self, switches: Switches, identity: Mapping[str, str]) -> tuple[Runner, SelectionHook]:
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

    def outputs(self) -> Structure:
        """What `store_outputs` wrote, computed again where that is missing or damaged; an error where it was computed
        from other data than are observed now."""
        made_by = self._made_by(load(self.folder / "student.pth")["state_dict"])
        return stored_outputs(self.data, self.folder, made_by, self._trained, self.label)

    def _trained(self) -> DistillTask:
        return DistillTask(self.load_model(), self.build_adapter(), self.build_objective())

    def _made_by(self, weights: Mapping[str, Any]) -> str:
        """The fingerprint of all that decides the stage's outputs."""
        settings = {"model": self.config["model"], "adapter": self.config.get("adapter"), "data": self.top.get("data")}
        return model_fingerprint(weights, plain_config(settings))

    def load_model(self) -> nn.Module:
        """The stage's trained model, bare, in eval mode."""
        model = self.build_model()
        load_student_weights(model, self.folder / "student.pth")
        return model.eval()


def _visualizer() -> dict[str, Any]:
    backends: list[dict[str, str]] = []
    try:
        import tensorboard  # noqa: F401

        backends.append({"type": "TensorboardVisBackend"})
    except ImportError:
        pass
    return {"type": "Visualizer", "vis_backends": backends}
