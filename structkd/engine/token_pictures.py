"""Pictures of trained image classifiers: whom the tokens of images are most like, to a teacher and its students."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor

from structkd.datasets import Images
from structkd.engine.data import ImageTask
from structkd.engine.experiment import build_data
from structkd.engine.stage import Stage
from structkd.errors import ConfigError, DataError, located, nearest
from structkd.visualization.tokens import TokenMaps, plot_token_relations


@torch.no_grad()
def draw_tokens(
    config: Config,
    work_dir: str | Path,
    out: str | Path,
    stages: Sequence[str] | None = None,
    seed: int = 0,
    images: Sequence[int] | None = None,
    field: str = "tokens",
    k: int = 6,
) -> Path:
    """Draw the token relation graph of some test images with a row for each stage of a finished run, the first's first.

    Args:
        config: of the run, whose data are an `ImageTask`.
        work_dir: of the run.
        out: folder for the picture.
        stages: which stages, the teacher first; default all.
        seed: of the run.
        images: numbers of test images, from 0; default the first and the next of its class.
        field: the map [B, C, h, w] that every stage's adapter gives.
        k: relations of each token.

    Returns:
        The file, `tokens_<numbers>.png`.

    Raises:
        ConfigError: other data, an unknown stage, a stage whose adapter gives no such map. DataError: no such image.
        CheckpointError: a stage that has not been trained.
    """
    data = build_data(config)
    if not isinstance(data, ImageTask):
        raise ConfigError(f"Pictures of tokens need an ImageTask; the config's data are a {type(data).__name__}.")
    with located("data"):
        data.setup(seed)
    names = list(config.stages) if stages is None else list(stages)
    for name in names:
        if name not in config.stages:
            raise ConfigError(f"There is no stage '{name}'. {nearest(name, config.stages)}")
    rows = _chosen(data.images.y[data.split.test], images)
    shown = data.eval_views(data.images, data.split.test[rows])
    panels = []
    for name in names:
        run = Stage(name, config.stages[name], data, seed, Path(work_dir) / f"seed_{seed}", config)
        adapter = run.build_adapter()
        if field not in adapter.provides:
            raise ConfigError(f"The adapter of stage '{name}' gives no '{field}'. {nearest(field, adapter.provides)}")
        structure = adapter(run.load_model(), Images(images=shown))
        panels.append(TokenMaps(config.stages[name].get("title", name), structure[field]))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (data.eval_views.mean, data.eval_views.std))
    pixels = ((shown * std + mean) * 255).round().clamp(0, 255).byte()
    path = Path(out) / f"tokens_{'_'.join(map(str, rows.tolist()))}.png"
    return plot_token_relations(path, list(pixels), panels, k=k)


def _chosen(y: Tensor, images: Sequence[int] | None) -> Tensor:
    """Numbers of test images; by default two of one class."""
    if images is None:
        return (y == y[0]).nonzero().flatten()[:2]
    if wrong := [number for number in images if not 0 <= number < y.numel()]:
        raise DataError(f"There is no test image {wrong[0]}; they are numbered from 0 to {y.numel() - 1}.")
    return torch.tensor(images)
