"""Reading configs: mmengine's Config, with every key checked before anything runs."""

from __future__ import annotations

import argparse
import copy
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from structkd.engine.checks import STAGE_KEYS, check, needs, require_dicts
from structkd.errors import ConfigError, nearest, reason


class Options(DictAction):
    """The `--cfg-options` of a command line: `key.sub=value ...`."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        try:
            super().__call__(parser, namespace, values, option_string)
        except (ValueError, AssertionError) as error:
            raise argparse.ArgumentError(self, f"expected KEY=VALUE, got {values}: {reason(error)}") from error


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
        raise ConfigError(f"{path} could not be read as a config: {type(error).__name__}: {reason(error)}") from error
    for name in [name for name in config if name.startswith("_")]:
        config.pop(name)  # helper variables of the file
    resolved = copy.deepcopy(config)
    _inherit(resolved, str(path))
    _check_options(resolved, options or {})
    try:
        config.merge_from_dict(dict(options or {}))
    except (KeyError, TypeError, AssertionError) as error:
        raise ConfigError(f"--cfg-options do not fit {path}: {reason(error)}") from error
    _inherit(config, str(path))
    check(config, str(path))
    _choose(config, str(path))
    return config


def _choose(config: Config, where: str) -> None:
    """Keep only the stages that `run` names, in the order of `stages`; others that they build on become `taken`."""
    run = config.pop("run", None)
    stages = config.get("stages") or {}
    if run is None:
        return
    run = [run] if isinstance(run, str) else run
    if not isinstance(run, (list, tuple)):
        raise ConfigError(f"{where}: run is {run!r}; expected a list of stages.")
    for name in run:
        if name not in stages:
            raise ConfigError(f"{where}: run names the stage '{name}', which is not there. {nearest(name, stages)}")
    chosen = [name for name in stages if name in run]
    wanted = [other for name in chosen for _, other in needs(stages[name])]
    taken: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in chosen and name not in taken:
            taken.add(name)
            wanted += [other for key, other in needs(stages[name]) if key == "model"]  # what loading it takes
    if taken:
        config["taken"] = {name: stages[name] for name in stages if name in taken}
    for name in [name for name in stages if name not in chosen]:
        stages.pop(name)


def _inherit(config: Config, where: str) -> None:
    """Fill stages that are `like` another one: a student of several methods is then the same by construction."""
    stages = config.get("stages") or {}
    require_dicts({"stages": stages}, ["stages"], where)
    require_dicts(stages, stages, f"{where}: stages")
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
        try:
            stages[name] = Config._merge_a_into_b(stages[name], copy.deepcopy(inherited))
        except TypeError as error:
            raise ConfigError(
                f"{where}: stages.{name} does not fit '{other}', which it is like: {reason(error)}"
            ) from error
    for stage in stages.values():
        for key in [key for key in stage if stage[key] is None]:
            stage.pop(key)  # None takes away what `like` brought


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
                "folder that holds graphs/ or kitti_sample/, or give the place directly: --cfg-options "
                "data.dataset.root=FOLDER."
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
