"""Loading a trained student by config and checkpoint, for testing and export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from structkd.engine.checkpoint import load
from structkd.engine.experiment import build_data
from structkd.engine.parts import STUDENT_FORMAT, load_student_weights
from structkd.engine.stages import StageRun
from structkd.engine.task import DistillTask
from structkd.errors import ConfigError, located, nearest


def open_stage(config: Config, checkpoint: str | Path, stage: str | None = None, seed: int | None = None) -> StageRun:
    """The stage a checkpoint belongs to, with the data of its seed.

    Args:
        stage, seed: override what the checkpoint says; both are needed for a file that does not say.
    """
    state = load(checkpoint)
    meta = state if state.get("format") == STUDENT_FORMAT else state.get("meta", {})
    name = stage or meta.get("stage") or Path(checkpoint).resolve().parent.name
    if name not in config.stages:
        raise ConfigError(f"{checkpoint} gives no known stage; name one with --stage. {nearest(name, config.stages)}")
    seed = meta.get("seed", 0) if seed is None else seed
    data = build_data(config)
    with located("data"):
        data.setup(seed)
    return StageRun(name, config.stages[name], data, seed, Path(checkpoint).resolve().parent.parent, config)


def load_student(
    config: Config, checkpoint: str | Path, stage: str | None = None
) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """The bare student in eval mode and the tensors to call it with."""
    run = open_stage(config, checkpoint, stage)
    model = run.build_model()
    load_student_weights(model, checkpoint)
    with located(run.where):
        return model.eval(), run.data.export_inputs(model, run.build_adapter())


def test_student(
    config: Config,
    checkpoint: str | Path,
    stage: str | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
) -> dict[str, Any]:
    """The test metrics of a checkpoint; its predictions go into the folder `out`, if one is given."""
    run = open_stage(config, checkpoint, stage, seed)
    model = run.build_model()
    load_student_weights(model, checkpoint)
    task = DistillTask(model, run.build_adapter(), run.data.objective())
    return {"stage": run.name, "seed": run.seed, "metrics": run.evaluate(task, None if out is None else Path(out))}
