"""DistilledDetector: an mmdet3d detector that mmdet3d's own runner trains, with a teacher beside it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from structkd.adapters.mmdet3d import MMDet3DAdapter
from structkd.engine.objectives import Objective
from structkd.engine.openmmlab.channels import channels_of
from structkd.engine.openmmlab.checkpoints import load_state
from structkd.engine.openmmlab.config import model_config
from structkd.engine.openmmlab.widths import narrowed
from structkd.engine.registry import ADAPTERS, DISTILLERS, build, find_part
from structkd.engine.schedules import Weight, weight
from structkd.engine.task import Comparison, DistillTask
from structkd.engine.teachers import Teacher
from structkd.errors import ConfigError
from structkd.structure import Structure

#: Name of the one teacher.
TEACHER = "teacher"


class DistilledDetector(DistillTask):
    """Student, frozen teacher and distillers as one model of mmengine's runner.

    mode "loss" gives the student's own losses under their own names and `loss/<distiller>.<name>` for each distiller;
    "predict" and "tensor" are the student's. Hooks, loops, datasets, metrics, `default_scope` and optimiser wrappers
    are mmdet3d's. The teacher is no submodule: it stays in eval mode, its weights and statistics never move, it is in
    no checkpoint, no optimiser and no DDP bucket, and copies of the model (EMA) share it. Both read the batch that the
    student's data preprocessor made; a teacher with another grid voxelises the same points anew.

    Args:
        teacher: config of an mmdet3d detector (`_base_.model` of a config that inherits from one of mmdet3d's), or the
            name of a config file ("mmdet3d::second/...", or a path) whose model is taken.
        teacher_checkpoint: its weights, a file or an address.
        student: config or file as for the teacher; default: the teacher's, times `width`.
        width: factor on all channels of the teacher, see `narrowed`; only without `student`.
        student_checkpoint: what the student starts from; default: its own initialisation.
        distillers: name -> config of a distiller (`type` of structkd.distillers), with `weight` (number or schedule).
            `student_channels` and `teacher_channels` are filled in where the detectors tell them.
        adapter: how both are read: arguments of `MMDet3DAdapter`.
        teacher_adapter: how the teacher is read, if otherwise.
        objective_weight: number or schedule for the student's own losses; 0 with `LabelKD`.

    Raises:
        ConfigError: arguments that do not fit together. CheckpointError: weights that do not fit their model.
        WiringError: a distiller that reads what no adapter gives.
    """

    def __init__(
        self,
        teacher: Mapping[str, Any] | str,
        teacher_checkpoint: str,
        distillers: Mapping[str, Mapping[str, Any]],
        student: Mapping[str, Any] | str | None = None,
        width: float | None = None,
        student_checkpoint: str | None = None,
        adapter: Mapping[str, Any] | None = None,
        teacher_adapter: Mapping[str, Any] | None = None,
        objective_weight: float | Mapping[str, Any] | Weight = 1.0,
    ) -> None:
        theirs, ours = model_config(teacher), student_config(teacher, student, width)
        own, own_adapter = built(ours), _adapter(adapter, "model.adapter")
        frozen = FrozenDetector(
            built(theirs),
            _adapter(adapter if teacher_adapter is None else teacher_adapter, "model.teacher_adapter"),
            same_grid=ours.get("data_preprocessor") == theirs.get("data_preprocessor"),
        )
        sides = {"student": (own, own_adapter), "teacher": (frozen.model, frozen.adapter)}
        super().__init__(
            own,
            own_adapter,
            _Nothing(),
            objective_weight,
            comparisons={name: _comparison(name, config, sides) for name, config in distillers.items()},
            teachers={TEACHER: frozen},
            data_preprocessor=own.data_preprocessor,
        )
        self.student_checkpoint = student_checkpoint
        frozen.checkpoint = load_state(frozen.model, teacher_checkpoint)

    def init_weights(self) -> None:
        super().init_weights()
        if self.student_checkpoint is not None:  # only now: the student's own initialisation has been called
            load_state(self.student, self.student_checkpoint, student=True)

    def forward(  # type: ignore[override]
        self, inputs: Any, data_samples: Any = None, mode: str = "tensor", **options: Any
    ) -> Any:
        if mode != "loss":
            return self.student(inputs, data_samples, mode=mode, **options)
        batch = {"inputs": inputs, "data_samples": data_samples}
        # The teacher comes first: mmdet3d's layers and losses write into what they are given.
        seen = {TEACHER: self._teachers[TEACHER](batch)}
        structure = self.adapter(self.student, {**batch, "mode": "loss"})
        scale = self.objective_weight.at(self._epoch, self._max_epochs)
        losses = {name: _times(value, scale) for name, value in structure.detection.losses.items()} if scale else {}
        device = next(self.student.parameters()).device.type
        with torch.autocast(device, enabled=False):
            return {**losses, **self.losses(full_precision(structure), batch, seen)}


class FrozenDetector(Teacher):
    """An mmdet3d detector as a teacher.

    Args:
        model: the detector; its parameters no longer take gradients, and it is in eval mode from now on.
        adapter: reads it.
        same_grid: its data preprocessor makes what the student's makes.
    """

    def __init__(self, model: nn.Module, adapter: MMDet3DAdapter, same_grid: bool) -> None:
        self.model = model.eval().requires_grad_(False)
        self.adapter, self.same_grid = adapter, same_grid
        self.provides = adapter.provides
        self.checkpoint: dict[str, Any] = {}
        self._preparations: list[Any] = []
        adapter.check(model)

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenDetector:
        return self  # it never changes, so the copies that EMA hooks make of the task share it

    def prepare(self, distiller_prepare: Any) -> None:
        self._preparations.append(distiller_prepare)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes noted in its checkpoint, in order."""
        meta = self.checkpoint.get("meta") or {}
        found = (meta.get("dataset_meta") or {}).get("classes") or meta.get("CLASSES")
        return tuple(found) if found else None

    def __call__(self, batch: Any) -> Structure:
        inputs = batch["inputs"]
        device = inputs["points"][0].device
        if next(self.model.parameters()).device != device:
            self.model.to(device)
        self.model.eval()
        with torch.no_grad():
            inputs = self._inputs(inputs, batch["data_samples"])
            structure = self.adapter(self.model, {"inputs": inputs, "data_samples": batch["data_samples"]})
        structure = full_precision(structure)
        for prepare in self._preparations:
            structure = prepare(structure)
        return structure

    def _inputs(self, inputs: dict[str, Any], data_samples: Any) -> dict[str, Any]:
        preprocessor: Any = self.model.data_preprocessor
        voxels = inputs.get("voxels")
        if not self.same_grid:
            voxels = preprocessor.voxelize(inputs["points"], data_samples) if preprocessor.voxel else None
        elif voxels is not None:
            # Pillar encoders of the "legacy" kind shift the points of the voxels in place.
            voxels = {**voxels, "voxels": voxels["voxels"].clone()}
        return {**inputs, "voxels": voxels}


class _Nothing(Objective):
    """The supervised loss is the detector's own, which its adapter runs."""

    reads = frozenset()

    def loss(self, structure: Structure, batch: Any) -> dict[str, Tensor]:
        return {}


def student_config(
    teacher: Mapping[str, Any] | str, student: Mapping[str, Any] | str | None, width: float | None
) -> dict[str, Any]:
    """The mmdet3d config of the student that these arguments of `DistilledDetector` name.

    Raises:
        ConfigError: neither or both of `student` and `width`; otherwise as `narrowed` and `model_config`.
    """
    if (student is None) == (width is None):
        raise ConfigError(
            "model: give either student=, the config of an mmdet3d detector, or width=, a factor on the teacher's "
            "channels."
        )
    return model_config(student) if student is not None else narrowed(model_config(teacher), float(width or 0))


def full_precision(structure: Structure) -> Structure:
    """The same structure with half-precision tensors in float32: squared distances of features overflow float16."""
    halves = (torch.float16, torch.bfloat16)
    fields = structure.to_dict()
    return Structure(
        **{name: v.float() if isinstance(v, Tensor) and v.dtype in halves else v for name, v in fields.items()}
    )


def built(config: Mapping[str, Any]) -> nn.Module:
    """A detector from its config, in mmdet3d's scope whatever the default one is."""
    from mmdet3d.registry import MODELS
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope("mmdet3d"):
        return MODELS.build(ConfigDict(copy.deepcopy(dict(config))))  # constructors write into what they are given


def _adapter(config: Mapping[str, Any] | None, where: str) -> Any:
    return build(ADAPTERS, {"type": "MMDet3DAdapter", **(config or {})}, where)


def _comparison(name: str, config: Mapping[str, Any], sides: Mapping[str, tuple[nn.Module, Any]]) -> Comparison:
    where = f"model.distillers.{name}"
    arguments = dict(config)
    scale = weight(arguments.pop("weight", 1.0), f"{where}.weight")
    parameters = inspect.signature(find_part(DISTILLERS, arguments, where)).parameters
    field = arguments.get("field", parameters["field"].default if "field" in parameters else None)
    known = {
        f"{side}_channels": count
        for side, (model, adapter) in sides.items()
        if isinstance(field, str) and (count := channels_of(model, field, adapter)) is not None
    }
    return Comparison(build(DISTILLERS, arguments, where, **known), TEACHER, scale)


def _times(value: Any, scale: float) -> Any:
    if scale == 1.0:
        return value
    return [scale * item for item in value] if isinstance(value, (list, tuple)) else scale * value
