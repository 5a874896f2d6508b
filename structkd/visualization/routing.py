"""Where patches go: experts drawn over images, and the experts' loads while a network is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from structkd.errors import DataError
from structkd.visualization.canvas import blank, save
from structkd.visualization.style import CLASS_COLOURS, LABEL_COLOUR, LINE_COLOUR, TEXT_COLOUR

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Inches of an image.
CELL = 1.25


@dataclass(frozen=True, eq=False)
class RouteMap:
    """The routes of one layer's patches.

    Attributes:
        title: of the layer, such as "block 3".
        expert: [B, h, w] int64, the first choice of each patch; -1 where no expert had room.
        gate: [B, h, w] its weight.
        experts: E.
    """

    title: str
    expert: Tensor
    gate: Tensor
    experts: int


def plot_routes(
    path: str | Path, images: Sequence[Tensor | np.ndarray], layers: Sequence[RouteMap], title: str | None = None
) -> Path:
    """Draw the first choice of every patch: a column an image, a row a layer, a colour an expert.

    The stronger the colour, the larger the gate, from a quarter (the smallest of the layer) to three quarters (the
    largest). Patches that no expert had room for are crossed out.

    Args:
        path: image file to write; the suffix chooses the format (`.png`).
        images: uint8 [3, H, W] each.
        layers: what each layer does with them.
        title: of the whole picture.

    Returns:
        The path. Needs matplotlib; draws off-screen.

    Raises:
        DataError: no images or layers, or routes that are not of these images.
    """
    if not len(images) or not layers:
        raise DataError(f"plot_routes got {len(images)} images and {len(layers)} layers; expected some.")
    for layer in layers:
        if layer.expert.dim() != 3 or len(layer.expert) != len(images) or layer.gate.shape != layer.expert.shape:
            raise DataError(
                f"The routes of '{layer.title}' have shapes {tuple(layer.expert.shape)} and {tuple(layer.gate.shape)} "
                f"for {len(images)} images; expected [B, h, w] twice."
            )
    figure = blank(CELL * len(images) + 0.9, CELL * (len(layers) + 1) + (0.8 if title else 0.5))
    rows = figure.subplots(len(layers) + 1, len(images), squeeze=False)
    for number, image in enumerate(images):
        pixels = np.asarray(image).transpose(1, 2, 0)
        grey = np.repeat(pixels.mean(2, keepdims=True), 3, 2) / 255
        for row, axes in enumerate(rows[:, number]):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if row == 0:
                axes.imshow(pixels, interpolation="nearest")
                continue
            layer = layers[row - 1]
            height, width = layer.expert.shape[1:]
            extent = (0, width, height, 0)
            axes.imshow(grey, extent=extent, interpolation="nearest")
            axes.imshow(_colours(layer, number), extent=extent, interpolation="nearest")
            for y, x in (layer.expert[number] < 0).nonzero().tolist():
                axes.plot([x, x + 1], [y, y + 1], color=LABEL_COLOUR, linewidth=0.8)
    for row, layer in zip(rows[1:], layers):
        row[0].set_ylabel(layer.title, fontsize=9, color=TEXT_COLOUR)
    _legend(figure, max(layer.experts for layer in layers))
    if title:
        figure.suptitle(title, fontsize=11, color=TEXT_COLOUR)
    return save(figure, path)


def plot_load(path: str | Path, lines: Sequence[Mapping[str, Any]], title: str | None = None) -> Path:
    """Draw each router's load over time: a panel a router, experts stacked, and the share that was dropped on top.

    Args:
        path: image file to write.
        lines: what `RoutingHook` wrote: `epoch`, and for each router `load` [E] and `dropped`.
        title: of the whole picture.

    Returns:
        The path. Needs matplotlib; draws off-screen.

    Raises:
        DataError: no lines, or lines without routers.
    """
    routers = [name for name in (lines[0] if lines else ()) if name != "epoch"]
    if not routers:
        raise DataError(f"plot_load got {len(lines)} lines without a router; expected what RoutingHook writes.")
    figure = blank(max(4.0, 3.2 * len(routers)), 3.1)
    epochs = [line["epoch"] for line in lines]
    for axes, name in zip(figure.subplots(1, len(routers), squeeze=False, sharey=True)[0], routers):
        load = np.array([line[name]["load"] for line in lines]).T
        share = np.array([1 - line[name]["dropped"] for line in lines])
        colours = [expert_colour(number) for number in range(len(load))]
        axes.stackplot(epochs, load * share, colors=colours, alpha=0.85, linewidth=0.4, edgecolor="white")
        axes.plot(epochs, share, color=LABEL_COLOUR, linewidth=1)
        axes.set(title=name, xlabel="epoch", ylim=(0, 1), xlim=(min(epochs), max(max(epochs), min(epochs) + 1)))
        axes.title.set_fontsize(9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=LINE_COLOUR, linewidth=0.5)
    figure.axes[0].set_ylabel("share of assignments")
    _legend(figure, max(len(lines[0][name]["load"]) for name in routers))
    if title:
        figure.suptitle(title, fontsize=11, color=TEXT_COLOUR)
    return save(figure, path)


def expert_colour(number: int) -> str:
    """A colour of an expert; after ten they repeat."""
    return CLASS_COLOURS[number % len(CLASS_COLOURS)]


def _colours(layer: RouteMap, image: int) -> np.ndarray:
    """[h, w, 4] the colour of each patch, its strength by the gate; nothing where no expert had room."""
    from matplotlib.colors import to_rgb

    table = torch.tensor([to_rgb(expert_colour(number)) for number in range(layer.experts)])
    low, high = float(layer.gate.min()), float(layer.gate.max())
    strength = 0.25 + 0.5 * (layer.gate[image].float() - low) / max(high - low, 1e-9)
    expert = layer.expert[image]
    return torch.cat([table[expert.clamp(min=0)], (strength * (expert >= 0))[..., None]], -1).numpy()


def _legend(figure: Figure, experts: int) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=expert_colour(number), label=f"expert {number}") for number in range(min(experts, 10))]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(experts, 5), frameon=False, fontsize=8)
