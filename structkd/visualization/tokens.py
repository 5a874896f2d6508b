"""Token relation graphs over images: whom a few tokens are most like, to the teacher and to each student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from structkd.distillers.grids import resized
from structkd.errors import DataError
from structkd.losses.token_graph import gaussian_weights
from structkd.ops.farthest_points import farthest_points
from structkd.ops.knn import knn
from structkd.visualization.canvas import blank, save
from structkd.visualization.style import CLASS_COLOURS, TEXT_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Inches of a row of images; room between two images, in widths of an image.
ROW, GAP = 2.9, 0.06
#: Contrast that is left of the images, so that lines stand out.
PALE = 0.7


@dataclass(frozen=True, eq=False)
class TokenMaps:
    """The tokens of some images as one network has them.

    Attributes:
        title: whose they are, such as "teacher".
        tokens: [B, C, h, w] features.
    """

    title: str
    tokens: Tensor


@dataclass(frozen=True, eq=False)
class Relations:
    """The strongest relations of some tokens; tokens are numbered image by image, row by row.

    Attributes:
        query: [Q] the tokens asked about.
        neighbor: [Q, K] the tokens nearest to each, of any image.
        weight: [Q, K] their Gaussian weights, 0 to 1.
    """

    query: Tensor
    neighbor: Tensor
    weight: Tensor

    def shared(self, other: Relations) -> Tensor:
        """[Q, K] bool, which of these relations the other graph has too."""
        return (self.neighbor.unsqueeze(2) == other.neighbor.unsqueeze(1)).any(2)


def token_relations(tokens: Tensor, query: Tensor, k: int) -> Relations:
    """The graph that TRG compares by default (`structkd.losses.token_graph`), at some of its tokens.

    Args:
        tokens: [B, C, h, w].
        query: [Q] tokens asked about.
        k: relations of each, or as many as there are.
    """
    x = tokens.detach().float().permute(0, 2, 3, 1).flatten(0, 2)
    (token, near), distance = knn(x, k)
    weight = gaussian_weights(distance.square(), row=token)
    width = min(k, len(x) - 1)
    return Relations(query, near.view(-1, width)[query], weight.view(-1, width)[query])


def plot_token_relations(
    path: str | Path,
    images: Sequence[Tensor | np.ndarray],
    panels: Sequence[TokenMaps],
    query: Sequence[int] | None = None,
    k: int = 6,
    title: str | None = None,
) -> Path:
    """Draw the strongest relations of a few tokens across some images, one row of images a network.

    The first panel is the teacher's. A student's relation that is the teacher's too is drawn as a line, one that is not
    is dashed; the heavier the line, the larger the weight of the relation among those of its token.

    Args:
        path: image file to write; the suffix chooses the format (`.png`).
        images: the images, uint8 [3, H, W] each; two are easily read.
        panels: what each network makes of them, the teacher first. Maps of another grid than the last panel's are
            resized to it, as the distillers do.
        query: numbers of the tokens asked about, image by image and row by row. Default: five that are far apart in
            the teacher's features.
        k: relations of each.
        title: of the whole picture.

    Returns:
        The path. Needs matplotlib; draws off-screen.

    Raises:
        DataError: no panels, maps that are not of these images, fewer than two tokens, a query out of range.
    """
    panels = _on_one_grid(images, panels)
    height, width = panels[0].tokens.shape[-2:]
    count = len(images) * height * width
    chosen = _spread(panels[0].tokens) if query is None else torch.as_tensor(query, dtype=torch.long)
    if count < 2 or not bool(((chosen >= 0) & (chosen < count)).all()):
        raise DataError(f"plot_token_relations got {count} tokens and the queries {chosen.tolist()} among them.")
    graphs = [token_relations(panel.tokens, chosen, k) for panel in panels]

    shapes = [np.asarray(image).shape for image in images]
    aspect = max(shape[1] / shape[2] for shape in shapes)
    total = len(images) + GAP * (len(images) - 1)
    figure = blank(ROW / aspect * total + 0.3, (ROW + 0.32) * len(panels) + (0.75 if title else 0.45))
    rows = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axes, panel, graph in zip(rows, panels, graphs):
        _draw_images(axes, images, (height, width))
        same = graph.shared(graphs[0])
        _draw_relations(axes, graph, same, (height, width))
        note = "" if graph is graphs[0] else f": {int(same.sum())} of the teacher's {same.numel()} relations"
        axes.set_title(panel.title + note, fontsize=10, color=TEXT_COLOUR, loc="left")
    _legend(figure)
    if title:
        figure.suptitle(title, fontsize=11, color=TEXT_COLOUR)
    return save(figure, path)


def _on_one_grid(images: Sequence[Tensor | np.ndarray], panels: Sequence[TokenMaps]) -> list[TokenMaps]:
    if not panels or not len(images):
        raise DataError(f"plot_token_relations got {len(images)} images and {len(panels)} panels; expected some.")
    for panel in panels:
        if panel.tokens.dim() != 4 or len(panel.tokens) != len(images):
            raise DataError(
                f"Tokens of '{panel.title}' have shape {tuple(panel.tokens.shape)} for {len(images)} images; expected "
                "[B, C, h, w], one map an image."
            )
    size = (panels[-1].tokens.size(2), panels[-1].tokens.size(3))
    return [TokenMaps(panel.title, resized(panel.tokens.detach().float(), size)) for panel in panels]


def _spread(tokens: Tensor, count: int = 5) -> Tensor:
    """Tokens that are far apart in features, from the middle of the first image on; in large maps none at an edge."""
    images, _, height, width = tokens.shape
    cell = torch.arange(images * height * width).view(images, height, width)
    inner = cell[:, height > 4 : height - (height > 4), width > 4 : width - (width > 4)].flatten()
    middle = int((inner == cell[0, height // 2, width // 2]).nonzero())
    inner = torch.cat([inner[middle:], inner[:middle]])  # the search starts with its first row
    x = tokens.permute(0, 2, 3, 1).flatten(0, 2)
    return inner[farthest_points(x[inner], count)]


def _draw_images(axes: Axes, images: Sequence[Tensor | np.ndarray], grid: tuple[int, int]) -> None:
    """Images side by side in units of tokens, with their grid."""
    height, width = grid
    step = width * (1 + GAP)
    for number, image in enumerate(images):
        left = number * step
        pixels = np.asarray(image).transpose(1, 2, 0)
        pale = (255 - (255 - pixels.astype(np.float32)) * PALE).astype(np.uint8)
        axes.imshow(pale, extent=(left, left + width, height, 0), interpolation="bilinear")
        style = {"color": "white", "linewidth": 0.5, "alpha": 0.5}
        axes.vlines(left + np.arange(1, width), 0, height, **style)  # type: ignore[arg-type]
        axes.hlines(np.arange(1, height), left, left + width, **style)  # type: ignore[arg-type]
    axes.set(xlim=(0, len(images) * step - width * GAP), ylim=(height, 0))
    axes.set_aspect("auto")
    axes.axis("off")


def _draw_relations(axes: Axes, graph: Relations, same: Tensor, grid: tuple[int, int]) -> None:
    from matplotlib.patches import FancyArrowPatch, Rectangle
    from matplotlib.patheffects import Normal, withStroke

    halo = [withStroke(linewidth=3.4, foreground="white", alpha=0.7), Normal()]
    largest = float(graph.weight.max()) or 1.0
    for number, query in enumerate(graph.query.tolist()):
        colour = CLASS_COLOURS[number % len(CLASS_COLOURS)]
        start = _corner(query, grid)
        for neighbor, weight, shared in zip(*(row[number].tolist() for row in (graph.neighbor, graph.weight, same))):
            end = _corner(neighbor, grid)
            axes.add_patch(Rectangle(end, 1, 1, facecolor=colour, alpha=0.22, linewidth=0))
            line = FancyArrowPatch(
                (start[0] + 0.5, start[1] + 0.5),
                (end[0] + 0.5, end[1] + 0.5),
                connectionstyle="arc3,rad=0.18",
                arrowstyle="-",
                linestyle="-" if shared else (0, (3, 2)),
                linewidth=0.6 + 1.6 * weight / largest,
                color=colour,
                shrinkA=0,
                shrinkB=0,
                path_effects=halo if shared else None,
                zorder=3,
            )
            axes.add_patch(line)
            axes.plot(end[0] + 0.5, end[1] + 0.5, "o", color=colour, markersize=3, markeredgewidth=0, zorder=4)
        axes.add_patch(Rectangle(start, 1, 1, fill=False, edgecolor="white", linewidth=4, zorder=4))
        axes.add_patch(Rectangle(start, 1, 1, fill=False, edgecolor=colour, linewidth=2, zorder=4))
        badge = {"boxstyle": "circle,pad=0.25", "facecolor": colour, "edgecolor": "white", "linewidth": 1.2}
        style = {"ha": "center", "va": "center", "fontsize": 8, "fontweight": "bold", "color": "white", "zorder": 5}
        axes.text(start[0] + 0.5, start[1] + 0.5, str(number + 1), bbox=badge, **style)  # type: ignore[arg-type]


def _corner(token: int, grid: tuple[int, int]) -> tuple[float, float]:
    """Where a token's cell begins in the row of images."""
    height, width = grid
    image, cell = divmod(token, height * width)
    return image * width * (1 + GAP) + cell % width, float(cell // width)


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=TEXT_COLOUR, linewidth=1.6, label="a relation that the teacher has"),
        Line2D([], [], color=TEXT_COLOUR, linewidth=1.2, linestyle=(0, (3, 2)), label="one that it does not have"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
