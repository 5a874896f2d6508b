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
    "run": "names of the stages to run (default: all)",
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
    "teachers": "name -> dict(stage=...) | dict(file=..., keys=...) | dict(model=..., checkpoint=..., adapter=...)",
    "init_from": "stage whose model the student starts from; of a wider one dict(stage=..., narrow=dict(...))",
    "train_dataloader": "loader config",
    "optim_wrapper": "as in mmengine",
    "param_scheduler": "as in mmengine",
    "train_cfg": "max_epochs, val_interval; a teacher without it and optim_wrapper is not trained",
    "selection": "metric, rule, patience, ties",
    "checkpoint_interval": "epochs between checkpoints",
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
)

#: What a teacher can be made from, and the keys that go with each.
TEACHERS = {"stage": (), "file": ("keys",), "model": ("checkpoint", "adapter", "momentum")}

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
    seen: list[str] = []
    for name, stage in config.stages.items():
        _check_stage(stage, seen, f"{where}: stages.{name}")
        baseline = stage.get("baseline", name)
        if baseline not in config.stages:
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
    for part in _parts(stage["model"]):
        _require_stage(part.get("stage"), seen, f"{where}.model")
    start = stage.get("init_from")
    if isinstance(start, Mapping):
        _require_known(start, ("stage", "narrow"), f"{where}.init_from")
        start = start.get("stage", "")
    _require_stage(start, seen, f"{where}.init_from")
    distillers, teachers = stage.get("distillers", {}), stage.get("teachers", {})
    require_dicts(distillers, distillers, f"{where}.distillers")
    require_dicts(teachers, teachers, f"{where}.teachers")
    for name, source in teachers.items():
        _check_teacher(source, seen, f"{where}.teachers.{name}")


def _check_teacher(source: Mapping[str, Any], seen: Collection[str], where: str) -> None:
    given = [key for key in TEACHERS if key in source]
    if len(given) != 1:
        raise ConfigError(f"{where} must name exactly one of stage, file or model, got {given}.")
    _require_known(source, (given[0], *TEACHERS[given[0]]), where)
    _require_stage(source.get("stage"), seen, where)


def _require_known(keys: Iterable[str], known: Collection[str], where: str) -> None:
    for key in keys:
        if key not in known:
            raise ConfigError(f"{where}: unknown key '{key}'. {nearest(key, known)}")


def _require_stage(name: str | None, stages: Collection[str], where: str) -> None:
    """`None` names nothing."""
    if name is not None and name not in stages:
        raise ConfigError(f"{where} names the stage '{name}', which does not run before it. {nearest(name, stages)}")


def _parts(value: Any) -> Iterator[Mapping[str, Any]]:
    """The dicts in a config, at any depth, itself included."""
    if isinstance(value, Mapping):
        yield value
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    for item in items:
        yield from _parts(item)
