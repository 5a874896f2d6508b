"""Stages: train one model after another, each resumable, artefacts passed by stage name."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
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
from structkd.engine.cache import TeacherCache
from structkd.engine.checkpoint import load, load_weights, save
from structkd.engine.config import plain_config
from structkd.engine.data import DataModule
from structkd.engine.files import atomic_write_json
from structkd.engine.hooks import HistoryHook, ProgressHook, ResumeHook, SelectionHook, TaskHook, bare
from structkd.engine.registry import ADAPTERS, DISTILLERS, HOOKS, MODELS, OBJECTIVES, build
from structkd.engine.runner import Runner
from structkd.engine.schedules import weight
from structkd.engine.task import Comparison, DistillTask
from structkd.engine.teachers import LiveTeacher, Teacher
from structkd.errors import CheckpointError, located, reason
from structkd.evaluation.codes import analyze_codes
from structkd.evaluation.efficiency import count_parameters
from structkd.models import TINEDStudent, inject_
from structkd.structure import Structure
from structkd.visualization import plot_codes

STUDENT_FORMAT = "structkd-student-1"
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
        return build_adapter(self.config.get("adapter"), f"{self.where}.adapter")

    def earlier(self, name: str) -> StageRun:
        """An earlier stage of the same seed."""
        return type(self)(name, self.top.stages[name], self.data, self.seed, self.seed_folder, self.top)

    def build_teachers(self) -> dict[str, Teacher]:
        return {
            name: self._teacher(source, f"{self.where}.teachers.{name}")
            for name, source in self.config.get("teachers", {}).items()
        }

    def _teacher(self, source: Mapping[str, Any], where: str) -> Teacher:
        if "stage" in source:
            return self.stage_teacher(source["stage"])
        if "file" in source:
            return self.data.file_teacher(source["file"], dict(source.get("keys", {"logits": "logits"})))
        model = build_model(source["model"], f"{where}.model", self.data.facts)
        if "checkpoint" in source:
            load_student_weights(model, source["checkpoint"])
        adapter = build_adapter(source.get("adapter"), f"{where}.adapter")
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

    def build_task(self) -> DistillTask:
        set_random_seed(self.seed)
        student = self.build_model()
        start = self.config.get("init_from")
        if start is not None:
            initialise(student, self.earlier(start).load_model(), f"init_from='{start}'")
        objective = self.config.get("objective")
        teachers = self.build_teachers()
        return DistillTask(
            student,
            self.build_adapter(),
            build(OBJECTIVES, objective, f"{self.where}.objective") if objective else self.data.objective(),
            self.config.get("objective_weight", 1.0),
            self.build_comparisons(teachers),
            teachers,
        )

    def build_selection(self) -> SelectionHook:
        settings = {"type": "SelectionHook", "metric": self.data.selection_metric, **self.config.get("selection", {})}
        return build(HOOKS, settings, f"{self.where}.selection")

    def optim_config(self, amp: bool) -> dict[str, Any]:
        return {**self.config["optim_wrapper"], **({"type": BFloat16OptimWrapper} if amp else {})}

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
        started = time.monotonic()
        task, training = self._train(switches, identity)
        metrics = self.evaluate(task)
        result = {
            "stage": self.name,
            "seed": self.seed,
            **identity,
            "metrics": metrics,
            **training,
            "seconds": round(time.monotonic() - started, 2),
            "parameters": count_parameters(task.student),
            "latency_ms": self.data.latency(task.student.eval(), task.adapter) if is_main_process() else {},
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
            if self.config.get("store_outputs", self.config.get("role") in ("teacher", "auxiliary")):
                self.store_outputs(task)
            atomic_write_json(self.result_file, result)
        barrier()
        scores = "  ".join(f"{key} {value:.4f}" for key, value in metrics.items())
        logger.info("%s  done: %s  (best epoch %s)", self.label, scores, training["selected"]["epoch"])
        return result

    @property
    def label(self) -> str:
        return f"[seed {self.seed}] {self.name}"

    def _train(self, switches: Switches, identity: Mapping[str, str]) -> tuple[DistillTask, dict[str, Any]]:
        """The task with its selected weights, and how they were selected."""
        if "train_cfg" not in self.config:  # nothing to learn (a heuristic), or learnt before
            return self.build_task(), {
                "selected": {"metric": self.data.selection_metric, "score": None, "epoch": 0},
                "epochs": 0,
            }
        runner, selection = self._runner(switches, identity)
        runner.train()
        chosen = {"metric": selection.metric, "score": selection.best["score"], "epoch": selection.best["epoch"]}
        return bare(runner.model), {"selected": chosen, "epochs": runner.epoch}

    def _runner(self, switches: Switches, identity: Mapping[str, str]) -> tuple[Runner, SelectionHook]:
        task = self.build_task()
        config = self.config
        selection = self.build_selection()
        resume_from = switches.resume_from
        # A checkpoint given by hand belongs to one stage only; the others take up their own.
        own = resume_from is not None and Path(resume_from).resolve().parent == self.folder.resolve()
        runner = Runner(
            model=task,
            work_dir=str(self.folder),
            train_dataloader=self.data.train_loader(
                config.get("train_dataloader"),
                f"{self.where}.train_dataloader",
                self.seed,
                get_rank(),
                get_world_size(),
            ),
            val_dataloader=self.data.eval_loader("val"),
            train_cfg={"by_epoch": True, **config["train_cfg"]},
            val_cfg={},
            val_evaluator=self.data.metrics(),
            optim_wrapper=self.optim_config(switches.amp),
            param_scheduler=config.get("param_scheduler"),
            default_hooks={"logger": None, "checkpoint": None, "timer": None, "sampler_seed": None},
            custom_hooks=[
                TaskHook(),
                selection,
                HistoryHook(),
                ProgressHook(self.label),
                ResumeHook(config.get("checkpoint_interval", 20)),
                *config.get("custom_hooks", []),
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

    def evaluate(self, task: DistillTask) -> dict[str, float]:
        """The test metrics of the selected weights."""
        task.eval()
        metrics: dict[str, float] = {}
        for metric in self.data.metrics():
            for batch in self.data.eval_loader("test"):
                with torch.no_grad():
                    metric.process(batch, task.val_step(batch))
            metrics |= metric.evaluate(1)
        return metrics

    @torch.no_grad()
    def store_outputs(self, task: DistillTask) -> None:
        """Run the selected model over everything observed and store what its adapter reads."""
        task.eval()
        parts = [task.val_structure(batch) for batch in self.data.observed_batches()]
        structure = _concatenate(parts)
        TeacherCache(self.folder / "outputs").save(structure, self.data.observed_graph)
        if {"codes", "codebook"} <= structure.provides:
            self._analyze_codes(structure)

    def _analyze_codes(self, structure: Structure) -> None:
        """How evenly the codes are used, and what they say about the labels that training saw."""
        labels = next(iter(self.data.observed_batches())).y
        size = structure.codebook.size(0)
        atomic_write_json(self.folder / "codes.json", analyze_codes(structure.codes, size, labels).to_dict())
        (self.folder / "figures").mkdir(exist_ok=True)
        plot_codes(structure.codes, size, self.folder / "figures" / "codes.png", labels)

    def outputs(self) -> Structure:
        """What `store_outputs` wrote; an error where it was computed from other data than are observed now."""
        return TeacherCache(self.folder / "outputs").load(self.data.observed_graph)

    def load_model(self) -> nn.Module:
        """The stage's trained model, bare, in eval mode."""
        model = self.build_model()
        load_student_weights(model, self.folder / "student.pth")
        return model.eval()


def build_model(
    config: Mapping[str, Any],
    where: str,
    facts: Mapping[str, Any],
    stage_model: Callable[[str], nn.Module] | None = None,
) -> nn.Module:
    """A model from its config.

    An argument that is itself a dict with a `type` is built first; `dict(stage=NAME)` becomes the model that an
    earlier stage trained. Both may also stand in a list.
    """

    def part(value: Any, place: str) -> Any:
        if isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
            return [part(item, f"{place}.{index}") for index, item in enumerate(value)]
        if isinstance(value, Mapping) and "type" in value:
            return build_model(value, place, facts, stage_model)
        if isinstance(value, Mapping) and list(value) == ["stage"] and stage_model is not None:
            return stage_model(value["stage"])
        return value

    return build(MODELS, {key: part(value, f"{where}.{key}") for key, value in config.items()}, where, **facts)


def build_adapter(config: Mapping[str, Any] | None, where: str) -> Adapter:
    return build(ADAPTERS, {"type": "GraphAdapter", **(config or {})}, where)


def load_student_weights(model: nn.Module, path: str | Path) -> None:
    """Weights into a bare model from any file this framework writes, or from a plain state dict."""
    state = load(path)
    if state.get("format") == STUDENT_FORMAT:
        state = state["state_dict"]
    elif "state_dict" in state:  # a training checkpoint: the student's part of the task
        state = {k[len("student.") :]: v for k, v in state["state_dict"].items() if k.startswith("student.")}
    load_weights(model, state, str(path))


def initialise(student: nn.Module, teacher: nn.Module, source: str) -> None:
    """Start `student` from `teacher`, which came from `source`: layer by layer for a TINED student, else as it is."""
    if isinstance(student, TINEDStudent):
        inject_(student, teacher)
    else:
        load_weights(student, teacher.state_dict(), source)


def _concatenate(parts: list[Structure]) -> Structure:
    if len(parts) == 1:
        return parts[0]
    whole = Structure()
    for name, value in parts[0].to_dict().items():
        if parts[0].is_node_field(name):
            whole[name] = torch.cat([part[name] for part in parts])
        elif isinstance(value, torch.Tensor) and not name.startswith("edge_"):
            whole[name] = value
    return whole


def _visualizer() -> dict[str, Any]:
    backends: list[dict[str, str]] = []
    try:
        import tensorboard  # noqa: F401

        backends.append({"type": "TensorboardVisBackend"})
    except ImportError:
        pass
    return {"type": "Visualizer", "vis_backends": backends}
