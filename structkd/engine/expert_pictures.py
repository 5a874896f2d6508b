"""Pictures of a trained network with experts: which patches each of them takes, and their loads in training."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor

from structkd.adapters.layouts import owner, token_grid
from structkd.engine.data import ImageTask
from structkd.engine.experiment import build_data
from structkd.engine.routing_hook import FILE
from structkd.engine.stage import Stage
from structkd.errors import ConfigError, located, nearest
from structkd.models import Routing, recorded
from structkd.visualization.routing import RouteMap, plot_load, plot_routes


@torch.no_grad()
def draw_experts(
    config: Config, work_dir: str | Path, out: str | Path, stage: str, seed: int = 0, images: int = 8
) -> list[Path]:
    """Draw what one stage of a finished run sends where.

    Args:
        config: of the run, whose data are an `ImageTask`.
        work_dir: of the run.
        out: folder for the pictures.
        stage: name of a stage whose model has routers.
        seed: of the run.
        images: how many test images, the first ones of as many classes as there are.

    Returns:
        The files: STAGE_routes.png and, where the stage was trained with a `RoutingHook`, STAGE_load.png.

    Raises:
        ConfigError: other data, an unknown stage, a model without routers. CheckpointError: an untrained stage.
    """
    data = build_data(config)
    if not isinstance(data, ImageTask):
        raise ConfigError(f"Pictures of experts need an ImageTask; the config's data are a {type(data).__name__}.")
    if stage not in config.stages:
        raise ConfigError(f"There is no stage '{stage}'. {nearest(stage, config.stages)}")
    with located("data"):
        data.setup(seed)
    run = Stage(stage, config.stages[stage], data, seed, Path(work_dir) / f"seed_{seed}", config)
    model, title = run.load_model(), config.stages[stage].get("title", stage)
    rows = _one_of_each_class(data.split.test, data.images.y, images)
    shown = data.eval_views(data.images, rows)
    with recorded(model) as records:
        model(shown)
    layers = [
        route_map(path, routing, (shown.size(2), shown.size(3)), int(owner(model, path, "num_prefix_tokens") or 0))
        for path, routing in records.items()
        if isinstance(routing, Routing)
    ]
    if not layers:
        raise ConfigError(f"The model of stage '{stage}' is a {type(model).__name__}, which has no routers.")
    pixels = [data.images.image(int(row)) for row in rows]
    drawn = [plot_routes(Path(out) / f"{stage}_routes.png", pixels, layers, title)]
    lines = run.folder / FILE
    if lines.is_file():
        found = [json.loads(line) for line in lines.read_text().splitlines()]
        drawn.append(plot_load(Path(out) / f"{stage}_load.png", found, title))
    return drawn


def route_map(path: str, routing: Routing, image_size: tuple[int, int], prefix: int = 0) -> RouteMap:
    """The patches' first choices as a map.

    Args:
        path: of the router, which names it.
        routing: of tokens [B, P + T].
        image_size: H, W in pixels.
        prefix: P, tokens that are no patches.

    Raises:
        ConfigError: patches that fill no grid.
    """
    samples, count = routing.shape[0], torch.Size(routing.shape[1:]).numel()
    grid = token_grid(count - prefix, image_size)
    if grid is None:
        raise ConfigError(f"The {count - prefix} patches that '{path}' routes fill no grid on images of {image_size}.")
    choice = routing.kept.float().argmax(1, keepdim=True)  # the best that had room
    expert = torch.where(routing.kept.any(1), routing.expert.gather(1, choice).squeeze(1), -1)
    first, weight = (
        x.view(samples, count)[:, prefix:].unflatten(1, grid).cpu() for x in (expert, routing.gate.gather(1, choice))
    )
    return RouteMap(path.removesuffix(".mlp.router").replace("blocks.", "block "), first, weight, routing.num_experts)


def _one_of_each_class(rows: Tensor, y: Tensor, count: int) -> Tensor:
    """The first `count` of `rows`, those first that show a class for the first time."""
    classes = y[rows].tolist()
    new = [place for place, label in enumerate(classes) if label not in classes[:place]]
    rest = [place for place in range(len(classes)) if place not in set(new)]
    return rows[torch.tensor([*new, *rest][:count], dtype=torch.long)]
