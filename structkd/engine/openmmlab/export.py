"""The student alone, as plain mmdet3d loads it: a checkpoint and a config."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from structkd import __version__
from structkd.engine.openmmlab.checkpoints import read_checkpoint, state_of, write_student
from structkd.engine.openmmlab.config import METRICS
from structkd.engine.openmmlab.detector import student_config
from structkd.errors import ConfigError
from structkd.files import atomic_write_text

DETECTOR = "DistilledDetector"


def is_distilled(model: Mapping[str, Any]) -> bool:
    """Whether the config of a model is that of a `DistilledDetector`."""
    return str(model.get("type")).rpartition(".")[2] == DETECTOR


def student_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """The student's own config, of a `DistilledDetector`'s."""
    return student_config(model["teacher"], model.get("student"), model.get("width"))


def plain_config(config: Config) -> Config:
    """The config without anything of ours: the student as `model`, mmdet3d's metrics, no distilling hook.

    Raises:
        ConfigError: `config` has another model than a `DistilledDetector`.
    """
    if not is_distilled(config.model):
        raise ConfigError(f"The config's model is a {config.model.get('type')}; expected a {DETECTOR}.")
    plain = copy.deepcopy(config._cfg_dict.to_dict())
    plain["model"] = student_of(config.model)
    ours = {name: theirs for theirs, name in METRICS.items()}
    for place in ("val_evaluator", "test_evaluator"):
        metrics = plain.get(place)
        for metric in [metrics] if isinstance(metrics, dict) else metrics or ():
            metric["type"] = ours.get(metric["type"], metric["type"])
    wrapper = plain.get("optim_wrapper") or {}
    if wrapper.get("type") == "BFloat16OptimWrapper":  # what stood in for it on a CPU
        wrapper["type"] = "AmpOptimWrapper"
    plain |= {"load_from": None, "resume": False}
    hooks = [hook for hook in plain.pop("custom_hooks", None) or () if not str(hook["type"]).startswith("structkd.")]
    if hooks:
        plain["custom_hooks"] = hooks
    return Config(plain)


def export_student(config: Config, checkpoint: Mapping[str, Any] | str | Path, folder: Path) -> tuple[Path, Path]:
    """Write `student.pth` and `student.py` to `folder`.

    `init_model("student.py", "student.pth")` of mmdet3d loads them, as do its tools and its runner (`load_from`).

    Args:
        config: the config that trained the student. checkpoint: of that run, read or as a path.
    """
    if not isinstance(checkpoint, Mapping):
        checkpoint = read_checkpoint(checkpoint)
    text = plain_config(config).pretty_text
    given = checkpoint.get("meta") or {}
    meta: dict[str, Any] = {"structkd": __version__, "cfg": text}
    meta |= {name: given[name] for name in ("epoch", "iter", "seed", "mmengine_version") if name in given}
    classes = (given.get("dataset_meta") or {}).get("classes")
    if classes is not None:
        meta["dataset_meta"] = {name: _plain(value) for name, value in given["dataset_meta"].items()}
    weights = write_student(folder / "student.pth", state_of(checkpoint, student=True), meta)
    return weights, atomic_write_text(folder / "student.py", text)


def _plain(value: Any) -> Any:
    """Lists and numbers for arrays and tuples, so that the checkpoint holds plain data."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
