"""DistillTask: a student, its teachers and what is compared between them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import Tensor, nn

from structkd.adapters import Adapter
from structkd.distillers import Distiller
from structkd.engine.objectives import Objective
from structkd.engine.schedules import Weight, weight
from structkd.engine.teachers import Teacher
from structkd.errors import WiringError, located
from structkd.structure import Structure


class BatchToDevice(BaseDataPreprocessor):
    """Moves a PyG batch to the model's device; mmengine's own knows only its containers."""

    def forward(self, data: Any, training: bool = False) -> dict[str, Any]:
        return {"batch": data.to(self.device)}


@dataclass
class Comparison:
    """One distiller, the teacher it looks at and how much it weighs."""

    distiller: Distiller
    teacher: str | None
    weight: Weight


class DistillTask(BaseModel):
    """Trains a student by its own objective and by any number of distillers, in one backward pass.

    All losses are added before the one backward: separate optimiser steps would let Adam normalise the loss
    weights away. A method that truly needs several optimisers overrides `train_step` and says why.

    Teachers are not submodules: they are frozen, and no part of them reaches the student's checkpoint.

    Args:
        student: the model that is trained.
        adapter: reads the student.
        objective: the supervised loss and the predictions.
        objective_weight: number or schedule for the supervised loss.
        comparisons: name -> `Comparison`; loss keys become `loss/<name>.<loss>`.
        teachers: name -> `Teacher`.
        inputs: field -> teacher whose field of that name each training batch brings to the student's adapter (a part of
            the forward pass that both share is so computed, or read from a store, once).

    Raises:
        WiringError: when a distiller reads what an adapter does not provide, or names an unknown teacher.
    """

    def __init__(
        self,
        student: nn.Module,
        adapter: Adapter,
        objective: Objective,
        objective_weight: float | Mapping[str, Any] | Weight = 1.0,
        comparisons: Mapping[str, Comparison] | None = None,
        teachers: Mapping[str, Teacher] | None = None,
        inputs: Mapping[str, str] | None = None,
        data_preprocessor: BaseDataPreprocessor | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor or BatchToDevice())
        comparisons = dict(comparisons or {})
        self.student = student
        self.adapter = adapter
        self.objective = objective
        self.objective_weight = weight(objective_weight, "objective_weight")
        self.distillers = nn.ModuleDict({name: c.distiller for name, c in comparisons.items()})
        self._comparisons = comparisons
        self._teachers, self._inputs = dict(teachers or {}), dict(inputs or {})
        self._epoch, self._max_epochs = 0, 1
        self._check_wiring()
        for comparison in comparisons.values():
            if comparison.teacher is not None:
                self._teachers[comparison.teacher].prepare(comparison.distiller.prepare)

    @property
    def teachers(self) -> Mapping[str, Teacher]:
        """The teachers by name; they are no submodules."""
        return self._teachers

    def _check_wiring(self) -> None:
        self.adapter.check(self.student)
        in_training = self.adapter.provides - self.adapter.evaluation_only
        always_off = self.objective_weight.start == self.objective_weight.end == 0
        missing = self.objective.reads - (self.adapter.provides if always_off else in_training)
        if missing:
            raise WiringError(self._mismatch(type(self.objective).__name__, missing, "student's adapter", in_training))
        for name, c in self._comparisons.items():
            label = f"Distiller '{name}' ({type(c.distiller).__name__})"
            missing = (c.distiller.reads | c.distiller.reads_student) - in_training
            if missing:
                raise WiringError(self._mismatch(label, missing, "student's adapter", in_training))
            needed = c.distiller.reads | c.distiller.reads_teacher
            if c.teacher is None:
                if needed:
                    raise WiringError(f"{label} reads {', '.join(sorted(needed))} of a teacher, but is given none.")
                continue
            if c.teacher not in self._teachers:
                raise WiringError(
                    f"{label} names the teacher '{c.teacher}', but the teachers are {sorted(self._teachers)}."
                )
            provides = self._teachers[c.teacher].provides
            if needed - provides:
                raise WiringError(self._mismatch(label, needed - provides, f"teacher '{c.teacher}'", provides))
        for field, name in self._inputs.items():
            if name not in self._teachers:
                raise WiringError(
                    f"inputs.{field} names the teacher '{name}'; the teachers are {sorted(self._teachers)}."
                )
            provides = self._teachers[name].provides
            if field not in provides:
                raise WiringError(self._mismatch(f"inputs.{field}", frozenset({field}), f"teacher '{name}'", provides))

    @staticmethod
    def _mismatch(reader: str, missing: frozenset[str], side: str, provides: frozenset[str]) -> str:
        return (
            f"{reader} reads {', '.join(sorted(missing))} of the {side}, which provides only "
            f"{', '.join(sorted(provides))}. Add a tap of that name (taps=dict({sorted(missing)[0]}='<module path>')) "
            "or choose another distiller."
        )

    def set_progress(self, epoch: int, max_epochs: int) -> None:
        """Tell weights and distillers where training stands (0-based epoch)."""
        self._epoch, self._max_epochs = epoch, max_epochs
        for distiller in self.distillers.values():
            distiller.set_progress(epoch, max_epochs)  # type: ignore[operator]

    def forward(self, batch: Any, mode: str = "tensor") -> Any:
        """`mode` is mmengine's: "loss" gives named losses, "predict" predictions, "tensor" the Structure."""
        seen: dict[str, Structure] = {}
        if mode == "loss" and self._inputs:
            batch = copy.copy(batch)
            for field, name in self._inputs.items():
                seen[name] = seen[name] if name in seen else self._teachers[name](batch)
                batch[field] = seen[name][field]
        structure = self.adapter(self.student, batch)
        if mode == "loss":
            return self.losses(structure, batch, seen)
        if mode == "predict":
            return self.objective.predict(structure, batch)
        return structure

    def val_structure(self, batch: Any) -> Structure:
        """The student's Structure on a batch, on the student's device."""
        return self(**self.data_preprocessor(batch, False), mode="tensor")

    def losses(self, structure: Structure, batch: Any, seen: dict[str, Structure] | None = None) -> dict[str, Tensor]:
        """The weighted losses of one batch; a weight of zero skips the objective but never a distiller's statistics.

        `seen` holds what teachers already gave for this batch.
        """
        losses: dict[str, Tensor] = {}
        scale = self.objective_weight.at(self._epoch, self._max_epochs)
        if scale:
            for key, value in self.objective.loss(structure, batch).items():
                losses[f"loss/{key}"] = scale * value
        for key, value in structure.get("losses", {}).items():
            losses[f"loss/model.{key}"] = value
        seen = {} if seen is None else seen
        for name, c in self._comparisons.items():
            if c.teacher is None:
                teacher = Structure()
            elif c.teacher in seen:
                teacher = seen[c.teacher]
            else:
                teacher = seen[c.teacher] = self._teachers[c.teacher](batch)
            scale = c.weight.at(self._epoch, self._max_epochs)
            with located(f"distillers.{name}"):
                values = c.distiller(structure, teacher)
            for key, value in values.items():
                losses[f"loss/{name}.{key}"] = scale * value
        # Processes that hold unequal parts of one batch must not weigh the same in the mean of their gradients.
        share = batch.get("share", 1.0)
        return {key: value * share for key, value in losses.items()} if share != 1.0 else losses

    def after_step(self) -> None:
        """What follows an optimiser step (called by `TaskHook`, also under DDP): momentum teachers move."""
        for teacher in self._teachers.values():
            teacher.after_step(self.student)
