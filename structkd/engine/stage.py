"""A stage under one seed: its parts as the config describes them, and what it left in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from mmengine.config import Config
from mmengine.runner.utils import set_random_seed
from torch import nn

from structkd.adapters import Adapter
from structkd.engine.amp import BFloat16OptimWrapper
from structkd.engine.cache import model_fingerprint
from structkd.engine.checkpoint import load
from structkd.engine.config import plain_config
from structkd.engine.data import DataModule
from structkd.engine.hooks import SelectionHook
from structkd.engine.objectives import Objective
from structkd.engine.one_cycle import with_cycles
from structkd.engine.outputs import stored_outputs
from structkd.engine.parts import assemble, build_adapter, build_model, initialise, load_student_weights
from structkd.engine.registry import DISTILLERS, HOOKS, OBJECTIVES, build, find_part
from structkd.engine.schedules import weight
from structkd.engine.task import Comparison, DistillTask
from structkd.engine.teachers import LiveTeacher, Teacher
from structkd.engine.upstream import BuiltOn
from structkd.errors import CheckpointError, reason
from structkd.structure import Structure

AnyStage = TypeVar("AnyStage", bound="Stage")


class Stage:
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

    @property
    def label(self) -> str:
        return f"[seed {self.seed}] {self.name}"

    # -- parts ---------------------------------------------------------------------------------------------

    def build_model(self) -> nn.Module:
        return build_model(
            self.config["model"], f"{self.where}.model", self.data.facts, lambda name: self.earlier(name).load_model()
        )

    def build_adapter(self) -> Adapter:
        return build_adapter(self.config.get("adapter"), f"{self.where}.adapter", self.data.adapter)

    def earlier(self: AnyStage, name: str) -> AnyStage:
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

    # -- what it left -----------------------------------------------------------------------------------------

    @property
    def result_file(self) -> Path:
        return self.folder / "result.json"

    def identity(self, amp: bool) -> dict[str, str]:
        """What a result or a checkpoint must agree with to be taken up again."""
        config = {**self.config, **({"amp": True} if amp else {})}
        return {
            "config_text": json.dumps(plain_config(config), sort_keys=True),
            "data_text": json.dumps(plain_config(self.top["data"]), sort_keys=True),
        }

    def built_on(self) -> BuiltOn:
        """The weights that the stage builds on, as they are now."""
        return BuiltOn(self.name, self.config, self.seed_folder)

    def complete(self, identity: Mapping[str, str]) -> dict[str, Any] | None:
        """The result of a run that ended, if there is one; an error if it was a run of something else, or built on
        other weights than are there now."""
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
        self.built_on().compare(result, self.result_file)
        return result

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
