"""The parts of a stage, built from its config: models, adapters, and the weights they start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from structkd.adapters import Adapter
from structkd.engine.checkpoint import load, load_weights
from structkd.engine.registry import ADAPTERS, MODELS, build, building, check_arguments
from structkd.errors import CheckpointError, ConfigError, located, nearest
from structkd.models import TINEDStudent, VMoE, inject_, narrow_, upcycle_

STUDENT_FORMAT = "structkd-student-1"


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


def build_adapter(config: Mapping[str, Any] | None, where: str, kind: str) -> Adapter:
    """An adapter from its config, of type `kind` where the config names none."""
    return build(ADAPTERS, {"type": kind, **(config or {})}, where)


def load_student_weights(model: nn.Module, path: str | Path) -> None:
    """Weights into a bare model from any file this framework writes, or from a plain state dict."""
    state = load(path)
    if state.get("format") == STUDENT_FORMAT:
        state = state["state_dict"]
    elif "state_dict" in state:  # a training checkpoint: the student's part of the task
        state = {k[len("student.") :]: v for k, v in state["state_dict"].items() if k.startswith("student.")}
    load_weights(model, state, str(path))


def initialise(student: nn.Module, teacher: nn.Module, source: str, narrow: Mapping[str, Any] | None = None) -> None:
    """Start `student` from `teacher`, which came from `source`: layer by layer for a TINED student, with copies of its
    MLPs for a V-MoE from a dense model, with the leading channels where `narrow` gives the arguments of `narrow_`, else
    as it is."""
    whole = isinstance(student, TINEDStudent) or (isinstance(student, VMoE) and not isinstance(teacher, VMoE))
    if whole and narrow is not None:
        raise ConfigError(
            f"{source}: narrow takes the leading channels of a wider model of the same kind, but a "
            f"{type(student).__name__} takes whole layers of a {type(teacher).__name__}. Leave narrow out."
        )
    if isinstance(student, TINEDStudent):
        inject_(student, teacher)
    elif whole and isinstance(student, VMoE):
        with located(source):
            upcycle_(student, teacher)
    elif narrow is not None:
        with building(source):
            check_arguments(narrow_, narrow, "narrow")
            narrow_(student, teacher, **narrow)
    else:
        load_weights(student, teacher.state_dict(), source)


def assemble(student: nn.Module, sources: Mapping[str, nn.Module], parts: Mapping[str, Mapping[str, str]]) -> None:
    """Start `student` from parts of several models, which together hold each of its weights exactly once.

    Args:
        sources: stage -> its model.
        parts: stage -> {prefix of names there: prefix of names in the student}; what begins with no such prefix is
            left behind.

    Raises:
        ConfigError: a prefix that no weight has. CheckpointError: a weight of the student that comes from nowhere or
            twice, one that the student does not have, or other shapes.
    """
    found: dict[str, Tensor] = {}
    for stage, renamed in parts.items():
        state = sources[stage].state_dict()
        for old, new in renamed.items():
            chosen = {new + name[len(old) :]: value for name, value in state.items() if name.startswith(old)}
            if not chosen:
                raise ConfigError(f"init_from.parts.{stage}: no weight begins with '{old}'. {nearest(old, state)}")
            if twice := sorted(chosen.keys() & found.keys()):
                raise CheckpointError(f"init_from.parts.{stage}: '{twice[0]}' comes from an earlier part too.")
            found |= chosen
    load_weights(student, found, f"init_from.parts ({', '.join(parts)})")
