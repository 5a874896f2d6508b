"""Training and testing by mmengine's runner, as mmdet3d's own tools do it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mmengine.runner
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.registry import RUNNERS
from torch import nn

import structkd.engine.amp  # noqa: F401  (registers the wrapper that takes AMP's place on a CPU)
from structkd.engine.launch import join_processes
from structkd.engine.openmmlab.checkpoints import read_checkpoint, state_of, write_student
from structkd.engine.openmmlab.config import fit_to_machine, read_config
from structkd.engine.openmmlab.export import is_distilled, student_of
from structkd.engine.openmmlab.hooks import GeneratorsHook
from structkd.errors import CheckpointError, ConfigError

#: Told to every run that distils.
HOOK = {"type": "structkd.DistillHook"}


class Runner(mmengine.runner.Runner):
    """mmengine's, and on CPUs too, where DDP must not be given a device id."""

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        if not self.distributed or torch.cuda.is_available() or is_model_wrapper(model):
            return super().wrap_model(model_wrapper_cfg, model)
        unused = self.cfg.get("find_unused_parameters", False)
        return MMDistributedDataParallel(model, **(model_wrapper_cfg or {"find_unused_parameters": unused}))


def train_openmmlab(
    path: str | Path,
    work_dir: str | None = None,
    resume: str | None = None,
    amp: bool = False,
    options: Mapping[str, Any] | None = None,
    launcher: str = "none",
    seed: int | None = None,
) -> Path:
    """Train the model of an OpenMMLab config; returns the work dir.

    Args:
        path: config file, or "mmdet3d::..." for one of mmdet3d's own.
        work_dir: default: the config's, or work_dirs/<config name>.
        resume: "auto" goes on from the work dir's latest checkpoint, a path from that one.
        amp: mixed precision: float16 on a GPU, bfloat16 elsewhere.
        options: `--cfg-options`.
        launcher: as in mmdet3d.
        seed: of all generators; default: the config's `randomness`.
    """
    config = read_config(path, options)
    _settle(config, path, work_dir, launcher)
    if seed is not None:
        config.randomness = {**config.get("randomness", {}), "seed": seed}
    if amp:
        _switch_amp(config)
    if resume is not None:
        config.resume = True
        config.load_from = None if resume == "auto" else resume
    if is_distilled(config.model):
        hooks = list(config.get("custom_hooks") or [])
        config.custom_hooks = [*hooks, HOOK] if HOOK not in hooks else hooks
    runner = _runner(config, launcher)
    runner.register_hook(GeneratorsHook())  # not in the config, which plain mmdet3d reads too
    runner.train()
    return Path(config.work_dir)


def test_openmmlab(
    path: str | Path,
    checkpoint: str,
    work_dir: str | None = None,
    options: Mapping[str, Any] | None = None,
    launcher: str = "none",
    out: str | None = None,
) -> dict[str, float]:
    """Evaluate a checkpoint on the test data of an OpenMMLab config; returns its metrics.

    Of a distilling config the student alone is built, and its weights are taken from a training checkpoint or from an
    exported student.

    Args:
        out: folder for KITTI's result files; only where the metric is KITTI's. The others are as for training.
    """
    config = read_config(path, options)
    _settle(config, path, work_dir, launcher)
    if is_distilled(config.model):
        config.model = student_of(config.model)
        checkpoint = _student_file(checkpoint, Path(config.work_dir))
    elif not checkpoint.startswith(("http://", "https://")) and not Path(checkpoint).is_file():
        raise CheckpointError(f"There is no checkpoint at {checkpoint}.")
    config.load_from = checkpoint
    if out is not None:
        _evaluator(config)["submission_prefix"] = out
    return _runner(config, launcher).test()


def _settle(config: Config, path: str | Path, work_dir: str | None, launcher: str) -> None:
    config.work_dir = str(work_dir or config.get("work_dir") or Path("work_dirs") / Path(path).stem)
    config.launcher = launcher
    for change in fit_to_machine(config):
        print_log(change, logger="current")


def _runner(config: Config, launcher: str) -> Any:
    join_processes(launcher)
    return RUNNERS.build(config) if "runner_type" in config else Runner.from_cfg(config)


def _switch_amp(config: Config) -> None:
    wrapper = config.optim_wrapper
    kind = wrapper.get("type", "OptimWrapper")
    if kind not in ("OptimWrapper", "AmpOptimWrapper", "BFloat16OptimWrapper"):
        raise ConfigError(f"--amp goes with an OptimWrapper; the config's optim_wrapper is a {kind}.")
    if kind == "OptimWrapper":
        wrapper["type"] = "AmpOptimWrapper"
        wrapper["loss_scale"] = "dynamic"
        fit_to_machine(config)


def _student_file(checkpoint: str, folder: Path) -> str:
    """A file with the student's weights alone; a training checkpoint's are written to the work dir first."""
    read = read_checkpoint(checkpoint)
    whole, student = state_of(read), state_of(read, student=True)
    if whole.keys() == student.keys():
        return checkpoint
    return str(write_student(folder / "tested_student.pth", student, {}))


def _evaluator(config: Config) -> Any:
    metrics = config.test_evaluator
    metrics = [metrics] if isinstance(metrics, Mapping) else list(metrics)
    for metric in metrics:
        if str(metric.get("type")).endswith("KittiMetric"):
            return metric
    raise ConfigError("--out writes KITTI's result files, but the config has no KittiMetric.")
