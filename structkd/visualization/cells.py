"""Which cells of the ground carry the weight of a distillation loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from structkd.datasets.points.boxes import lidar_corners
from structkd.errors import DataError
from structkd.visualization.canvas import blank, save
from structkd.visualization.scene_boxes import SceneBoxes
from structkd.visualization.style import LABEL_COLOUR, LINE_COLOUR, TEXT_COLOUR, WEIGHT_COLOURS

#: Cells without weight.
EMPTY = "#dfe3e8"
#: Share of the weight that the titles tell the place of.
MOST = 0.95
#: Inches of a panel.
PANEL = 4.6


def plot_cells(
    path: str | Path,
    pos: np.ndarray,
    weights: dict[str, np.ndarray],
    cell_size: Sequence[float],
    labels: SceneBoxes | None = None,
    title: str = "",
) -> Path:
    """Cells (pillars, or voxels from above) coloured by weight, one panel for each way of weighting.

    Args:
        path: image file to write.
        pos: [V, 2 or more] x, y of the centres of the cells in metres, of one scene.
        weights: by title, [V] weights of the cells, 0 or more. In cells with several (voxels above each other) the
            largest counts. All panels have the colours of the largest weight of their own.
        cell_size: x and y in metres.
        labels: labelled boxes, drawn in black.
        title: above all panels.

    Returns:
        The path. The titles tell how many cells carry 95 % of the weight.

    Raises:
        DataError: shapes that do not fit, weights that are negative or not finite, a size that is not positive.
    """
    _check(pos, weights, cell_size)
    size = np.asarray(cell_size[:2], dtype=np.float64)
    low = pos[:, :2].min(0) if len(pos) else np.zeros(2)
    index = np.rint((pos[:, :2] - low) / size).astype(np.int64)
    shape = index.max(0, initial=0) + 1
    x0, y0 = low - size / 2
    x1, y1 = low + size * (shape - 0.5)
    height = min(max(PANEL * (x1 - x0) / (y1 - y0), 2.4), 9.0)
    figure = blank((PANEL + 0.7) * len(weights), height + 0.9)
    from matplotlib.colors import ListedColormap

    for axes, (name, weight) in zip(figure.subplots(1, len(weights), squeeze=False)[0], weights.items()):
        grid = np.full(shape, np.nan)
        np.fmax.at(grid, tuple(index.T), weight)
        extent = (y0, y1, x0, x1)
        there = np.where(np.isnan(grid), np.nan, 0.0)
        common = dict(origin="lower", extent=extent, interpolation="nearest")
        axes.imshow(there, cmap=ListedColormap([EMPTY]), **common)
        grid[grid == 0] = np.nan
        top = float(np.nanmax(grid, initial=0)) or 1.0
        mappable = axes.imshow(grid, cmap=WEIGHT_COLOURS, vmin=0, vmax=top, **common)
        if labels is not None:
            for corners in lidar_corners(labels.boxes[:, :7].astype(np.float64))[:, [0, 1, 2, 3, 0], :2]:
                axes.plot(corners[:, 1], corners[:, 0], color=LABEL_COLOUR, linewidth=0.9)
        axes.set(xlim=(y1, y0), ylim=(x0, x1), xlabel="y to the left, m", ylabel="x ahead, m", aspect="equal")
        axes.grid(color=LINE_COLOUR, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.set_title(f"{name}\n{_carriers(weight)}", fontsize=9.5, color=TEXT_COLOUR)
        figure.colorbar(mappable, ax=axes, label="weight", shrink=0.6, aspect=30, pad=0.01)
    if title:
        figure.suptitle(title, fontsize=11, color=TEXT_COLOUR)
    return save(figure, path)


def carriers(weight: np.ndarray, share: float = MOST) -> int:
    """How many cells, the heaviest first, it takes to reach a share of all weight."""
    total = weight.sum()
    if not total > 0:
        return 0
    return int(np.searchsorted(np.cumsum(np.sort(weight)[::-1]), share * total * (1 - 1e-12)) + 1)


def _carriers(weight: np.ndarray) -> str:
    return f"{carriers(weight):,} of {len(weight):,} cells carry {MOST:.0%} of the weight"


def _check(pos: np.ndarray, weights: dict[str, np.ndarray], cell_size: Sequence[float]) -> None:
    if pos.ndim != 2 or pos.shape[1] < 2 or not np.isfinite(pos).all():
        raise DataError(f"pos is {pos.shape}; expected finite [V, 2 or more].")
    if len(cell_size) < 2 or not min(cell_size[:2]) > 0:
        raise DataError(f"cell_size is {tuple(cell_size)}; expected x and y in metres, both positive.")
    if not weights:
        raise DataError("There are no weights to draw.")
    for name, weight in weights.items():
        if weight.shape != (len(pos),):
            raise DataError(f"weights '{name}' are {weight.shape} for {len(pos)} cells.")
        if not (np.isfinite(weight).all() and (weight >= 0).all()):
            raise DataError(f"weights '{name}' are negative or not finite.")
