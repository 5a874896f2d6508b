"""Scenes from above: points, labelled boxes and what detectors found, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from structkd.datasets.points.boxes import lidar_corners
from structkd.errors import ConfigError
from structkd.visualization.canvas import blank, save
from structkd.visualization.scene_boxes import SceneBoxes, check_classes, class_colour
from structkd.visualization.style import LABEL_COLOUR, LINE_COLOUR, POINT_COLOURS, TEXT_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

#: Inches of a panel, which is as high as its scene is deep.
PANEL = 4.6
#: Share of points that may lie outside of a picture that chooses its own extent.
STRAY = 0.005


def plot_birds_eye(
    path: str | Path,
    points: np.ndarray,
    panels: Sequence[SceneBoxes],
    classes: Sequence[str],
    labels: SceneBoxes | None = None,
    colour: Literal["height", "reflectance"] = "height",
    extent: tuple[float, float, float, float] | None = None,
    ahead: Literal["x", "y"] = "x",
    title: str = "",
) -> Path:
    """One picture from above with a panel for each detector (teacher, student, distilled student, ...).

    Args:
        path: image file to write.
        points: [P, 3 or more] x, y, z in metres, reflectance.
        panels: what each panel shows in the colours of the classes, with scores and headings; none: the labels alone.
        classes: names, for the legend.
        labels: labelled boxes, in every panel, dashed in black.
        colour: what colours the points.
        extent: x0, y0, x1, y1 in metres; default: where nearly all points and all boxes are.
        ahead: the axis that points ahead, drawn upwards: x in this library, y in nuScenes' frames.
        title: above all panels.

    Returns:
        The path. Axes have the same scale; a mark from the centre to the front of each box shows its heading.

    Raises:
        ConfigError: an unknown choice. DataError: labels that are none of the classes.
    """
    if colour not in ("height", "reflectance") or ahead not in ("x", "y"):
        raise ConfigError(f"colour is {colour!r}, ahead {ahead!r}; expected 'height' or 'reflectance', 'x' or 'y'.")
    shown = [*panels]
    if not shown:  # labels alone, in the colours of their classes
        shown, labels = [labels or SceneBoxes("points", np.empty((0, 7)), np.empty(0, np.int64))], None
    every = [*shown, *([labels] if labels is not None else [])]
    check_classes(every, classes)
    extent = extent or _extent(points, every)
    width, depth = (extent[3] - extent[1], extent[2] - extent[0])[:: 1 if ahead == "x" else -1]
    height = min(max(PANEL * depth / width, 2.4), 9.0)
    figure = blank(PANEL * len(shown) + 0.9, height + 1.1)
    axes = figure.subplots(1, len(shown), squeeze=False, sharex=True, sharey=True)[0]
    for one, panel in zip(axes, shown):
        mappable = _draw_points(one, points, colour, ahead)
        if labels is not None:
            _draw_boxes(one, labels, ahead, LABEL_COLOUR)
        _draw_boxes(one, panel, ahead)
        _frame(one, extent, ahead, panel, first=one is axes[0])
    name, unit = {"height": ("height", "m"), "reflectance": ("reflectance", "0 to 1")}[colour]
    figure.colorbar(mappable, ax=list(axes), label=f"{name}, {unit}", shrink=0.6, aspect=30, pad=0.01)
    class_legend(figure, shown, classes, None if labels is None else "labelled")
    if title:
        figure.suptitle(title, fontsize=11, color=TEXT_COLOUR)
    return save(figure, path)


def _extent(points: np.ndarray, panels: Sequence[SceneBoxes]) -> tuple[float, float, float, float]:
    """The rectangle, in steps of 5 m, of all boxes and nearly all points."""
    places = [lidar_corners(panel.boxes[:, :7])[..., :2].reshape(-1, 2) for panel in panels]
    if len(points):
        places.append(np.quantile(points[:, :2], (STRAY, 1 - STRAY), axis=0))
    place = np.concatenate(places)
    if not len(place):
        return -10.0, -10.0, 10.0, 10.0
    low, high = np.floor(place.min(0) / 5) * 5, np.ceil(place.max(0) / 5) * 5
    high = np.maximum(high, low + 5)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _flat(place: np.ndarray, ahead: str) -> tuple[np.ndarray, np.ndarray]:
    """What goes to the right and what goes up; y to the left is handled by turning that axis round."""
    return (place[..., 1], place[..., 0]) if ahead == "x" else (place[..., 0], place[..., 1])


def point_colours() -> Colormap:
    """The colour map of points."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("points", list(POINT_COLOURS))


def _draw_points(axes: Axes, points: np.ndarray, colour: str, ahead: str) -> ScalarMappable:
    value, limits = (points[:, 2], height_limits(points)) if colour == "height" else (points[:, 3], (0.0, 0.8))
    order = np.argsort(value, kind="stable")  # what is high covers what is low, as it does from above
    right, up = _flat(points[order], ahead)
    size = min(1.2, max(0.15, 12_000 / max(len(points), 1)))
    style = dict(cmap=point_colours(), vmin=limits[0], vmax=limits[1], linewidths=0, rasterized=True)
    return axes.scatter(right, up, s=size, c=value[order], **style)  # type: ignore[arg-type]


def height_limits(points: np.ndarray) -> tuple[float, float]:
    """From the ground to what overtops a van: a few high or low points must not use up the colours."""
    ground = float(np.quantile(points[:, 2], 0.05)) if len(points) else 0.0
    return ground, ground + 3.5


def _draw_boxes(axes: Axes, panel: SceneBoxes, ahead: str, colour: str | None = None) -> None:
    """Outlines, marks of headings and scores; in the colours of the classes if none is given."""
    from matplotlib.collections import LineCollection
    from matplotlib.patheffects import withStroke

    if not len(panel):
        return
    corners = lidar_corners(panel.boxes[:, :7].astype(np.float64))[:, :4, :2]
    middle, front = corners.mean(1), corners[:, [0, 3]].mean(1)
    outline = np.stack(_flat(corners[:, [0, 1, 2, 3, 0]], ahead), -1)
    heading = np.stack(_flat(np.stack([middle, front], 1), ahead), -1)
    colours = [colour or class_colour(label) for label in panel.labels]
    width, dashes, order = (0.9, (0, (2.5, 1.5)), 5) if colour else (1.6, "solid", 4)
    for lines in (outline, heading):
        axes.add_collection(
            LineCollection(list(lines), colors=colours, linewidths=width, linestyles=[dashes], zorder=order)
        )
    if panel.scores is None:
        return
    right, up = _flat(corners, ahead)
    rightmost = right.min(1) if ahead == "x" else right.max(1)
    for x, y, score, own in zip(rightmost, up.mean(1), panel.scores, colours):
        axes.annotate(
            f"{score:.2f}".removeprefix("0"),
            (x, y),
            xytext=(2, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=own,
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
            clip_on=True,
            annotation_clip=True,
            zorder=6,
        )


def _frame(axes: Axes, extent: tuple[float, float, float, float], ahead: str, panel: SceneBoxes, first: bool) -> None:
    x0, y0, x1, y1 = extent
    if ahead == "x":
        axes.set(xlim=(y1, y0), ylim=(x0, x1), xlabel="y to the left, m")
    else:
        axes.set(xlim=(x0, x1), ylim=(y0, y1), xlabel="x to the right, m")
    axes.set_aspect("equal")
    if first:
        axes.set_ylabel(f"{ahead} ahead, m")
    axes.grid(color=LINE_COLOUR, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    count = f" ({len(panel)} boxes)" if panel.scores is not None else ""
    axes.set_title(panel.title + count, fontsize=10, color=TEXT_COLOUR)


def class_legend(
    figure: Figure,
    panels: Sequence[SceneBoxes],
    classes: Sequence[str],
    labelled: str | None,
    line: Literal["dashed", "solid"] = "dashed",
) -> None:
    """Below a figure: a line for each class in the panels and, under the name given, one for labelled boxes."""
    from matplotlib.lines import Line2D

    present = sorted({int(label) for panel in panels for label in panel.labels})
    handles = [Line2D([], [], color=class_colour(label), linewidth=2, label=classes[label]) for label in present]
    if labelled is not None:
        handles.append(Line2D([], [], color=LABEL_COLOUR, linewidth=1.2, linestyle=line, label=labelled))
    if handles:
        each = 0.75 + 0.08 * max(len(str(handle.get_label())) for handle in handles)  # inches of an entry, about
        columns = max(1, min(len(handles), int(figure.get_figwidth() / each)))
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
