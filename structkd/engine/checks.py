"""What a config may hold: its keys, and that the names in it mean something, before anything runs."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from mmengine.config import Config

from structkd.errors import ConfigError, nearest

#: Top-level keys of a config.
TOP_KEYS = {
    "data": "the data module: dataset, protocol",
    "stages": "stage name -> stage, in the order they run",
    "run": "names of the stages to run (default: all); what they build on is taken from an earlier run",
    "taken": "stages that ran earlier in the work dir and that those here build on (filled in for `run`)",
    "seeds": "list of seeds",
    "title": "heading of the results",
    "work_dir": "where everything is written",
    "default_scope": "as in mmengine",
    "env_cfg": "as in mmengine",
    "visualizer": "as in mmengine",
    "log_level": "level of mmengine's own logger",
}

#: Keys of one stage.
STAGE_KEYS = {
    "like": "an earlier stage whose settings this one starts from",
    "title": "name in tables",
    "role": "teacher, plain, distilled or auxiliary",
    "method": "name of the method in tables",
    "model": "the model that is trained; dict(stage=...) in it is an earlier stage's model",
    "adapter": "how it is read (default: GraphAdapter)",
    "objective": "supervised objective (default: the data module's)",
    "objective_weight": "number or schedule",
    "distillers": "name -> distiller with `weight` and `teacher`",
    "teachers": "name -> dict(stage=..., adapter=...) | dict(file=..., keys=...) | "
    "dict(model=..., checkpoint=..., adapter=...)",
    "init_from": "stage whose model the student starts from; of a wider one dict(stage=..., narrow=dict(...)); "
    "of several dict(parts=dict(STAGE={prefix there: prefix here}))",
    "inputs": "field -> teacher whose field of that name each training batch brings to the student",
    "train_dataloader": "loader config",
    "optim_wrapper": "as in mmengine",
    "param_scheduler": "as in mmengine",
    "train_cfg": "max_epochs, val_interval; a teacher without it and optim_wrapper is not trained",
    "selection": "metric, rule, patience, ties",
    "checkpoint_interval": "epochs between checkpoints (20), which also come after two minutes",
    "custom_hooks": "as in mmengine",
    "store_outputs": "whether the outputs are stored for later stages",
    "baseline": "stage the paired differences are taken to (default: the plain stage)",
}

#: The keys above that hold a dict.
STAGE_DICTS = (
    "model",
    "adapter",
    "objective",
    "distillers",
    "teachers",
    "train_dataloader",
    "optim_wrapper",
    "train_cfg",
    "selection",
    "inputs",
)

#: What a teacher can be made from, and the keys that go with each.
TEACHERS = {"stage": ("adapter",), "file": ("keys",), "model": ("checkpoint", "adapter", "momentum")}

ROLES = ("teacher", "plain", "distilled", "auxiliary")


def check(config: Config, where: str) -> None:
    """Verify the keys of a config and of its stages; raises `ConfigError`.

    Whether the parts that it describes fit together is seen when they are built.
    """
    _require_known(config, TOP_KEYS, where)
    for key in ("data", "stages"):
        if not config.get(key):
            raise ConfigError(f"{where}: the config has no '{key}' ({TOP_KEYS[key]}).")
    require_dicts(config, ("data", "env_cfg", "visualizer"), where)
    if not isinstance(logging.getLevelName(config.get("log_level", "INFO")), int):
        raise ConfigError(f"{where}: log_level is {config.log_level!r}; expected a name such as 'INFO'.")
    seen: list[str] = list(config.get("taken", ()))
    for name, stage in config.stages.items():
        _check_stage(stage, seen, f"{where}: stages.{name}")
        baseline = stage.get("baseline", name)
        if baseline not in config.stages and "taken" not in config:
            raise ConfigError(
                f"{where}: stages.{name}.baseline: there is no stage '{baseline}'. {nearest(baseline, config.stages)}"
            )
        seen.append(name)


def require_dicts(parent: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    """Raise a `ConfigError` for the first of the keys whose value is there and no dict."""
    for key in keys:
        if key in parent and not isinstance(parent[key], Mapping):
            raise ConfigError(f"{where}: '{key}' must be a dict, got {parent[key]!r}.")


def _check_stage(stage: Mapping[str, Any], seen: Collection[str], where: str) -> None:
    _require_known(stage, STAGE_KEYS, where)
    require_dicts(stage, STAGE_DICTS, where)
    # A teacher with neither is not trained: it is evaluated, and teaches, as it is.
    training = ("train_cfg", "optim_wrapper")
    untrained = stage.get("role") in ("teacher", "auxiliary") and not any(key in stage for key in training)
    for key in ("model", *(() if untrained else training)):
        if key not in stage:
            raise ConfigError(f"{where} has no '{key}' ({STAGE_KEYS[key]}).")
    if stage.get("role", "distilled") not in ROLES:
        raise ConfigError(f"{where}.role is '{stage['role']}'; expected one of {', '.join(ROLES)}.")
    start = stage.get("init_from")
    if isinstance(start, Mapping):
        _require_known(start, ("parts",) if "parts" in start else ("stage", "narrow"), f"{where}.init_from")
        require_dicts(start, ("parts",), f"{where}.init_from")
        require_dicts(start.get("parts", {}), start.get("parts", {}), f"{where}.init_from.parts")
        if not start.get("parts") and "stage" not in start:
            raise ConfigError(f"{where}.init_from names no stage.")
    distillers, teachers = stage.get("distillers", {}), stage.get("teachers", {})
    require_dicts(distillers, distillers, f"{where}.distillers")
    require_dicts(teachers, teachers, f"{where}.teachers")
    for name, source in teachers.items():
        _check_teacher(source, f"{where}.teachers.{name}")
    for key, name in needs(stage):
        _require_stage(name, seen, f"{where}.{key}")


def needs(stage: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Key of a stage and the stage that it names there, for every stage that must have run before."""
    yield from (("model", part["stage"]) for part in _parts(stage["model"]) if "stage" in part)
    start = stage.get("init_from")
    if isinstance(start, Mapping):
        yield from (("init_from", name) for name in start.get("parts", [start.get("stage")]))
    elif start is not None:
        yield "init_from", start
    for name, source in stage.get("teachers", {}).items():
        if "stage" in source:
            yield f"teachers.{name}", source["stage"]


def _check_teacher(source: Mapping[str, Any], where: str) -> None:
    given = [key for key in TEACHERS if key in source]
    if len(given) != 1:
        raise ConfigError(f"{where} must name exactly one of stage, file or model, got {given}.")
    _require_known(source, (given[0], *TEACHERS[given[0]]), where)


def _require_known(keys: Iterable[str], known: Collection[str], where: str) -> None:
    for key in keys:
        if key not in known:
            raise ConfigError(f"{where}: unknown key '{key}'. {nearest(key, known)}")


def _require_stage(name: str, stages: Collection[str], where: str) -> None:
    if name not in stages:
        raise ConfigError(f"{where} names the stage '{name}', which does not run before it. {nearest(name, stages)}")


def _parts(value: Any) -> Iterator[Mapping[str, Any]]:
    """The dicts in a config, at any depth, itself included."""
    if isinstance(value, Mapping):
        yield value
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    for item in items:
        yield from _parts(item)
