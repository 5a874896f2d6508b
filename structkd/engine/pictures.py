"""Pictures of trained detectors: what each stage finds in the same frames, and where a distillation loss looks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from structkd.datasets import Scenes
from structkd.distillers import PointDistiller
from structkd.distillers.elements import elements
from structkd.distillers.points.neighborhoods import importance_of, importance_weights, most_important
from structkd.engine.data import DetectionTask
from structkd.engine.experiment import build_data
from structkd.engine.stage import Stage
from structkd.errors import ConfigError, located, nearest
from structkd.structure import Structure
from structkd.visualization.cells import plot_cells
from structkd.visualization.frames import plot_frame
from structkd.visualization.scene_boxes import SceneBoxes

#: Options of a PointDistiller that mean the same in its mode "reference".
PUBLISHED_OPTIONS = ("student_channels", "teacher_channels", "out_channels", "importance", "k", "pool")


@torch.no_grad()
def draw_detections(
    config: Config,
    work_dir: str | Path,
    out: str | Path,
    stages: Sequence[str] | None = None,
    seed: int = 0,
    frames: Sequence[str] | None = None,
    views: Sequence[str] = ("bev",),
    min_score: float = 0.3,
) -> list[Path]:
    """Draw test frames with a panel for each stage of a finished run.

    Args:
        config: of the run, whose data are a `DetectionTask`.
        work_dir: of the run.
        out: folder for the pictures.
        stages: which stages, default all.
        seed: of the run.
        frames: ids of test frames; default the first three.
        views: "bev", "image" (KITTI frames with pictures), "3d".
        min_score: least score drawn.

    Returns:
        The files. With a PointDistiller on pillars among the stages, FRAME_weights.png shows which pillars of the
        teacher carry its weight, by its own rule and by the published code's.

    Raises:
        ConfigError: other data, an unknown stage or frame. CheckpointError: a stage that has not been trained.
    """
    data = build_data(config)
    if not isinstance(data, DetectionTask):
        raise ConfigError(f"Pictures of scenes need a DetectionTask; the config's data are a {type(data).__name__}.")
    with located("data"):
        data.setup(seed)
    names = list(config.stages) if stages is None else list(stages)
    for name in names:
        if name not in config.stages:
            raise ConfigError(f"There is no stage '{name}'. {nearest(name, config.stages)}")
    runs = {name: _run(config, name, data, seed, work_dir) for name in names}
    models = {name: run.load_model() for name, run in runs.items()}
    dataset, paths = data.frames["test"], []
    for index in _chosen(dataset.frame_ids, frames):
        frame = dataset[index]
        scenes = Scenes.from_frames([frame], [index])
        found = {name: model(scenes).predict()[0] for name, model in models.items()}
        panels = [SceneBoxes.of(config.stages[name].get("title", name), found[name]).above(min_score) for name in names]
        paths += plot_frame(out, frame, panels, dataset.classes, views)
        for name in names:
            weights = _weights(config, name, data, seed, work_dir, scenes)
            if weights is not None:
                pos, by_title, cell = weights
                labels = SceneBoxes("labels", frame.boxes, frame.labels)
                path = Path(out) / f"{frame.frame_id}_weights.png"
                paths.append(plot_cells(path, pos, by_title, cell, labels, f"frame {frame.frame_id}"))
                break
    return paths


def _run(config: Config, name: str, data: DetectionTask, seed: int, work_dir: str | Path) -> Stage:
    return Stage(name, config.stages[name], data, seed, Path(work_dir) / f"seed_{seed}", config)


def _chosen(ids: Sequence[str], wanted: Sequence[str] | None) -> list[int]:
    place = {name: index for index, name in enumerate(ids)}
    for name in wanted or ():
        if name not in place:
            raise ConfigError(f"There is no test frame '{name}' among {len(ids)}. {nearest(name, ids)}")
    return list(range(min(3, len(ids)))) if wanted is None else [place[name] for name in wanted]


def _weights(
    config: Config, name: str, data: DetectionTask, seed: int, work_dir: str | Path, scenes: Scenes
) -> tuple[np.ndarray, dict[str, np.ndarray], Sequence[float]] | None:
    """Places of the teacher's pillars, their weights by rule, and a pillar's size; None without a PointDistiller."""
    settings: Any = config.stages[name]
    for distiller in settings.get("distillers", {}).values():
        teacher = next((source.get("stage") for source in settings.get("teachers", {}).values()), None)
        if distiller.get("type") != "PointDistiller" or distiller.get("field", "x") != "x" or teacher is None:
            continue
        run = _run(config, teacher, data, seed, work_dir)
        model, adapter = run.load_model(), run.build_adapter()
        voxelizer = getattr(model, "voxelizer", None)
        if voxelizer is None or "importance" not in adapter.provides:
            return None
        structure = adapter(model, scenes)
        options = {k: v for k, v in distiller.items() if k not in ("type", "weight", "teacher")}
        # The published code knows none of the other options.
        known = {k: v for k, v in options.items() if k in PUBLISHED_OPTIONS}
        by_title = {
            settings.get("title", name): _element_weights(PointDistiller(**options), structure),
            "as published": _element_weights(PointDistiller(**known, mode="reference"), structure),
        }
        return structure.pos.numpy(), by_title, voxelizer.voxel_size[:2]
    return None


def _element_weights(distiller: PointDistiller, teacher: Structure) -> np.ndarray:
    """[V] weight of each element in the loss; 0 where it is not asked about."""
    rows = elements(teacher, distiller.field, "PointDistiller")
    importance = importance_of(rows, distiller.importance, "PointDistiller")
    center = most_important(importance, rows.x, distiller.n)
    weight = torch.zeros(len(rows.x))
    kind = distiller.reweight
    weight[center] = 1.0 if kind is None else importance_weights(importance[center], distiller.tau, kind).float()
    return weight.numpy()
