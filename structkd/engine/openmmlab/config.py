"""OpenMMLab-style configs: told from our own, read, and made to run on this machine."""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from structkd.engine.config import _check_options
from structkd.engine.openmmlab.stack import prepare
from structkd.errors import ConfigError, nearest, reason

#: Prefix of the configs that mmdet3d brings.
THEIRS = "mmdet3d::"
#: Metrics of mmdet3d that need a GPU -> ours that take the same arguments and give the same figures.
METRICS = {"KittiMetric": "structkd.KittiMetric"}


def is_openmmlab(path: str | Path) -> bool:
    """Whether a config file is one of OpenMMLab's style: for a single model, with no `stages`.

    Only the names that the file, and those that it inherits from, assign at top level are looked at; nothing is run.
    A file that cannot be read, or that is not there, is none: our own reader says what is wrong with it.
    """
    if str(path).startswith(THEIRS):
        return True
    try:
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return False
    names: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
    if "stages" in names or "data" in names:
        return False
    bases: Any = []
    if "_base_" in names:
        try:
            bases = ast.literal_eval(names["_base_"])
        except ValueError:
            return False
    bases = [bases] if isinstance(bases, str) else list(bases)
    return "train_dataloader" in names or any(
        "::" in base or is_openmmlab(Path(path).parent / base) for base in map(str, bases)
    )


def read_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """An OpenMMLab config, with `--cfg-options` merged in; the operators are installed first.

    Raises:
        ConfigError: no such file, one that cannot be read, options that do not fit, or mmdet3d is not installed.
    """
    prepare()
    if not str(path).startswith(THEIRS) and not Path(path).is_file():
        near = [str(p) for p in Path(path).parent.glob("*.py")] if Path(path).parent.is_dir() else []
        raise ConfigError(f"There is no config file {path}. {nearest(str(path), near) if near else ''}")
    try:
        config = Config.fromfile(_place(str(path)))
    except Exception as error:  # mmengine raises whatever the file raises
        raise ConfigError(f"{path} could not be read as a config: {type(error).__name__}: {reason(error)}") from error
    _check_options(copy.deepcopy(config), options or {})
    try:
        config.merge_from_dict(dict(options or {}))
    except (KeyError, TypeError, AssertionError) as error:
        raise ConfigError(f"--cfg-options do not fit {path}: {reason(error)}") from error
    if "model" not in config:
        raise ConfigError(f"{path} has no 'model'.")
    return config


def model_config(model: Mapping[str, Any] | str) -> dict[str, Any]:
    """The config of a detector: as given, or the `model` of the config file that is named."""
    if isinstance(model, str):
        model = read_config(model).model
    if not isinstance(model, Mapping) or "type" not in model:
        raise ConfigError(f"A detector's config must be a dict with a 'type' or a config file, got {model!r:.80}.")
    return copy.deepcopy(dict(model))


def fit_to_machine(config: Config) -> list[str]:
    """Change what cannot run here, in place; returns a line about each change, for the log.

    - mmdet3d's KittiMetric computes overlaps with numba on CUDA only: replaced by ours, with the same figures under
      the same names. `type="mmdet3d.KittiMetric"` keeps theirs.
    - Without a GPU: `AmpOptimWrapper` (which insists on one) becomes bfloat16 autocast, and processes talk by Gloo.
    """
    changes = []
    for place in ("val_evaluator", "test_evaluator"):
        for metric in _listed(config.get(place)):
            if metric.get("type") in METRICS:
                changes.append(f"{place}: {metric['type']} becomes {METRICS[metric['type']]}, the same on any device")
                metric["type"] = METRICS[metric["type"]]
    if torch.cuda.is_available():
        return changes
    wrapper = config.get("optim_wrapper") or {}
    if wrapper.get("type") == "AmpOptimWrapper":
        for name in ("loss_scale", "dtype", "use_fsdp"):
            wrapper.pop(name, None)
        wrapper["type"] = "BFloat16OptimWrapper"
        changes.append("optim_wrapper: AmpOptimWrapper needs a GPU and becomes bfloat16 autocast")
    return changes


def _listed(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [value]
    return [item for item in value or () if isinstance(item, Mapping)]


def _place(path: str) -> str:
    """The file behind a name such as "mmdet3d::pointpillars/..."; other names as they are."""
    if not path.startswith(THEIRS):
        return path
    import mmdet3d

    folder = Path(mmdet3d.__file__).parent / ".mim" / "configs"
    file = folder / path.removeprefix(THEIRS)
    if not file.is_file():
        known = [str(p.relative_to(folder)) for p in folder.rglob("*.py")]
        raise ConfigError(f"mmdet3d has no config {path.removeprefix(THEIRS)}. {nearest(file.name, known)}")
    return str(file)
