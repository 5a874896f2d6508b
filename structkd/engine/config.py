"""Reading configs: mmengine's Config, with every key checked before anything runs."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
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
    "init_from": "stage whose model the student starts from",
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

ROLES = ("teacher", "plain", "distilled", "auxiliary")


def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config file, merge `--cfg-options` into it and check every key.

    Raises `ConfigError` naming the file and the key.
    """
    path = Path(path)
    if not path.is_file():
        near = [str(p) for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise ConfigError(f"There is no config file {path}. {nearest(str(path), near) if near else ''}")
    try:
        config = Config.fromfile(str(path))
    except Exception as error:  # mmengine raises whatever the file raises
        raise ConfigError(f"{path} could not be read as a config: {type(error).__name__}: {error}") from error
    for name in [name for name in config if name.startswith("_")]:
        config.pop(name)  # helper variables of the file
    resolved = copy.deepcopy(config)
    _inherit(resolved, str(path))
    _check_options(resolved, options or {})
    try:
        config.merge_from_dict(dict(options or {}))
    except (KeyError, TypeError, AssertionError) as error:
        raise ConfigError(f"--cfg-options do not fit {path}: {error}") from error
    _inherit(config, str(path))
    _choose(config, str(path))
    check(config, str(path))
    return config


def _choose(config: Config, where: str) -> None:
    """Keep only the stages that `run` names, in the order of `stages`."""
    run = config.pop("run", None)
    stages = config.get("stages") or {}
    if run is None:
        return
    for name in run:
        if name not in stages:
            raise ConfigError(f"{where}: run names the stage '{name}', which is not there. {nearest(name, stages)}")
    for name in [name for name in stages if name not in run]:
        stages.pop(name)


def _inherit(config: Config, where: str) -> None:
    """Fill stages that are `like` another one: a student of several methods is then the same by construction."""
    stages = config.get("stages") or {}
    for name in list(stages):
        other = stages[name].pop("like", None)
        if other is None:
            continue
        earlier = list(stages)[: list(stages).index(name)]
        if other not in earlier:
            raise ConfigError(
                f"{where}: stages.{name}.like names no earlier stage '{other}'. {nearest(other, earlier)}"
            )
        inherited = {key: value for key, value in stages[other].items() if key not in ("title", "role", "method")}
        stages[name] = Config._merge_a_into_b(stages[name], copy.deepcopy(inherited))


def _check_options(config: Config, options: Mapping[str, Any]) -> None:
    """An option may add a leaf, but the path to it must be there: a typing error must not pass in silence."""
    for dotted in options:
        node: Any = {key: config[key] for key in config}
        *parents, _leaf = dotted.split(".")
        for depth, key in enumerate(parents):
            known = list(node) if isinstance(node, Mapping) else []
            if isinstance(node, (list, tuple)) and key.isdigit() and int(key) < len(node):
                node = node[int(key)]
            elif key in known:
                node = node[key]
            elif depth == 2 and parents[0] == "stages" and key in STAGE_KEYS:
                break  # a part of a stage that the config leaves at its default
            else:
                here = ".".join(parents[:depth]) or "the config"
                raise ConfigError(f"--cfg-options {dotted}: there is no '{key}' in {here}. {nearest(key, known)}")


def check(config: Config, where: str) -> None:
    """Verify the keys of a config and of its stages; raises `ConfigError`."""
    for key in config:
        if key not in TOP_KEYS:
            raise ConfigError(f"{where}: unknown key '{key}'. {nearest(key, TOP_KEYS)}")
    for key in ("data", "stages"):
        if not config.get(key):
            raise ConfigError(f"{where}: the config has no '{key}' ({TOP_KEYS[key]}).")
    seen: list[str] = []
    for name, stage in config.stages.items():
        place = f"{where}: stages.{name}"
        for key in stage:
            if key not in STAGE_KEYS:
                raise ConfigError(f"{place}: unknown key '{key}'. {nearest(key, STAGE_KEYS)}")
        # A teacher with neither is not trained: it is evaluated, and teaches, as it is.
        training = ("train_cfg", "optim_wrapper")
        untrained = stage.get("role") in ("teacher", "auxiliary") and not any(key in stage for key in training)
        for key in ("model", *(() if untrained else training)):
            if key not in stage:
                raise ConfigError(f"{place} has no '{key}' ({STAGE_KEYS[key]}).")
        for part in _parts(stage.model):
            if "stage" in part and part["stage"] not in seen:
                raise ConfigError(
                    f"{place}.model names the stage '{part['stage']}', which does not run before it. "
                    + nearest(part["stage"], seen)
                )
        if stage.get("role", "distilled") not in ROLES:
            raise ConfigError(f"{place}.role is '{stage.role}'; expected one of {', '.join(ROLES)}.")
        for teacher, source in stage.get("teachers", {}).items():
            given = [key for key in ("stage", "file", "model") if key in source]
            if len(given) != 1:
                raise ConfigError(
                    f"{place}.teachers.{teacher} must name exactly one of stage, file or model, got {given}."
                )
            if "stage" in source and source["stage"] not in seen:
                raise ConfigError(
                    f"{place}.teachers.{teacher} names the stage '{source['stage']}', which does not run before it. "
                    + nearest(source["stage"], seen)
                )
        if stage.get("init_from") is not None and stage["init_from"] not in seen:
            raise ConfigError(
                f"{place}.init_from: no earlier stage '{stage['init_from']}'. {nearest(stage['init_from'], seen)}"
            )
        seen.append(name)


def _parts(value: Any) -> Iterator[Mapping[str, Any]]:
    """The dicts in a config, at any depth, itself included."""
    if isinstance(value, Mapping):
        yield value
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    for item in items:
        yield from _parts(item)


def resolve_root(value: Any) -> Any:
    """`value` with every `$STRUCTKD_DATA` in its strings replaced by that environment variable.

    Raises `ConfigError` when the variable is needed and not set.
    """
    if isinstance(value, Mapping):
        return {key: resolve_root(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [resolve_root(item) for item in value]
    if isinstance(value, str) and "$STRUCTKD_DATA" in value:
        root = os.environ.get("STRUCTKD_DATA")
        if not root:
            raise ConfigError(
                f"The config reads '{value}', but the environment variable STRUCTKD_DATA is not set. Set it to the "
                "folder that holds graphs/, or give the place directly: --cfg-options data.dataset.root=FOLDER."
            )
        return value.replace("$STRUCTKD_DATA", root)
    return value


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as plain JSON data, exactly as it ran."""
    return json.loads(json.dumps(dict(config), default=_jsonable))


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, tuple)):
        return list(value)
    return repr(value)
