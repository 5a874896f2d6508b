"""Scenes in perspective, rendered off-screen by open3d or, where that cannot render, drawn by matplotlib."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from structkd.backends import import_open3d
from structkd.datasets.points.boxes import EDGES, NEAR, lidar_corners
from structkd.errors import ConfigError, reason
from structkd.visualization.camera import clip_behind
from structkd.visualization.canvas import blank, save
from structkd.visualization.scene_boxes import SceneBoxes, check_classes, class_colour
from structkd.visualization.scenes import class_legend, height_limits, point_colours
from structkd.visualization.style import LABEL_COLOUR, TEXT_COLOUR

Renderer = Literal["auto", "open3d", "matplotlib"]
#: Pixels of a panel.
SIZE = (1600, 720)
#: Where the eye is and what it looks at, in metres: behind and above the vehicle, looking ahead.
EYE, TARGET = (-7.0, 0.0, 8.0), (22.0, 0.0, -2.5)
#: Height of the picture in degrees.
VIEW = 34.0
INSTALL = (
    "open3d renders with Vulkan, on the CPU if there is no graphics card: on Debian and Ubuntu, "
    "apt install libvulkan1 mesa-vulkan-drivers"
)


def plot_scene_3d(
    path: str | Path,
    points: np.ndarray,
    panels: Sequence[SceneBoxes],
    classes: Sequence[str],
    labels: SceneBoxes | None = None,
    renderer: Renderer = "auto",
    ahead: Literal["x", "y"] = "x",
    title: str = "",
) -> str:
    """Points coloured by height and boxes in perspective, one panel below the other for each detector.

    Args:
        path: image file to write.
        points: [P, 3 or more] x, y, z in metres.
        panels, classes, labels: as in `plot_birds_eye`; the front of a box is crossed out.
        renderer: "auto" takes open3d if it can render, or else matplotlib, which draws the same from the same place
            but does not hide what is behind; the picture then says so.
        ahead: the axis that points ahead.
        title: above all panels.

    Returns:
        Which renderer drew it: "open3d" or "matplotlib".

    Raises:
        ConfigError: an unknown renderer, or open3d was asked for and cannot render (with what to install).
    """
    if renderer not in ("auto", "open3d", "matplotlib"):
        raise ConfigError(f"renderer is {renderer!r}; expected 'auto', 'open3d' or 'matplotlib'.")
    shown = [*panels]
    if not shown:
        shown, labels = [labels or SceneBoxes("points", np.empty((0, 7)), np.empty(0, np.int64))], None
    check_classes([*shown, *([labels] if labels is not None else [])], classes)
    scenes = [(_points(points, ahead), _lines(panel, labels, ahead)) for panel in shown]
    note = ""
    pictures: list[np.ndarray] = []
    if renderer != "matplotlib":
        try:
            pictures = render_open3d(scenes)
        except ConfigError as error:
            if renderer == "open3d":
                raise
            note = f"drawn by matplotlib: {str(error).split(';')[0]}"
    drawn = "open3d" if pictures else "matplotlib"
    figure = blank(9.6, len(shown) * (9.6 * SIZE[1] / SIZE[0] + 0.3) + 0.5 + 0.3 * bool(note))
    for number, panel in enumerate(shown):
        axes = figure.add_subplot(len(shown), 1, number + 1)
        if pictures:
            axes.imshow(pictures[number])
        else:
            _draw_matplotlib(axes, *scenes[number])
        axes.set_axis_off()
        axes.set_title(panel.title, fontsize=10, color=TEXT_COLOUR, loc="left")
    class_legend(figure, shown, classes, None if labels is None else "labelled", "solid")
    if title or note:
        figure.suptitle("\n".join(filter(None, (title, note))), fontsize=10, color=TEXT_COLOUR)
    save(figure, path)
    return drawn


Points = tuple[np.ndarray, np.ndarray]
Lines = list[tuple[np.ndarray, str, float]]


def _points(points: np.ndarray, ahead: str) -> Points:
    """Places [P, 3] with x ahead, and colours [P, 3] from 0 to 1."""
    low, high = height_limits(points)
    colours = point_colours()(np.clip((points[:, 2] - low) / (high - low), 0, 1))[:, :3]
    return _turn(points[:, :3].astype(np.float64), ahead), colours


def _lines(panel: SceneBoxes, labels: SceneBoxes | None, ahead: str) -> Lines:
    """(segments [S, 2, 3], colour, width) of all boxes."""
    found = []
    for boxes, colour, width in ((labels, LABEL_COLOUR, 1.5), (panel, None, 3.0)):
        if boxes is None:
            continue
        corners = _turn(lidar_corners(boxes.boxes[:, :7].astype(np.float64)), ahead)
        pairs = [*EDGES.tolist(), (0, 7), (3, 4)]  # the last two cross the front face
        for label in np.unique(boxes.labels):
            segments = corners[boxes.labels == label][:, pairs].reshape(-1, 2, 3)
            found.append((segments, colour or class_colour(label), width))
    return found


def _turn(place: np.ndarray, ahead: str) -> np.ndarray:
    return place if ahead == "x" else place[..., [1, 0, 2]] * (1, -1, 1)


def render_open3d(scenes: Sequence[tuple[Points, Lines]], size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """Each scene as [H, W, 3] uint8.

    Raises:
        ConfigError: open3d is missing or cannot render here; the message says what to install.
    """
    o3d = import_open3d()
    from matplotlib.colors import to_rgb

    rendering, pictures = o3d.visualization.rendering, []
    try:
        with _quiet(o3d):
            renderer = rendering.OffscreenRenderer(*size)
    except Exception as error:  # what it raises depends on what is missing
        raise ConfigError(f"open3d cannot render here ({reason(error)}); {INSTALL}.") from error
    renderer.scene.set_background([1, 1, 1, 1])
    renderer.scene.view.set_post_processing(False)  # colours as they are, without a film's tones
    for (place, colours), lines in scenes:
        renderer.scene.clear_geometry()
        if len(place):
            cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(place))
            cloud.colors = o3d.utility.Vector3dVector(colours)
            renderer.scene.add_geometry("points", cloud, _material(rendering, "defaultUnlit", point_size=2.5))
        for number, (segments, colour, width) in enumerate(lines):
            ends = o3d.utility.Vector3dVector(segments.reshape(-1, 3))
            pairs = o3d.utility.Vector2iVector(np.arange(2 * len(segments)).reshape(-1, 2))
            line_set = o3d.geometry.LineSet(ends, pairs)
            line_set.paint_uniform_color(to_rgb(colour))
            renderer.scene.add_geometry(f"l{number}", line_set, _material(rendering, "unlitLine", line_width=width))
        renderer.setup_camera(VIEW, TARGET, EYE, [0, 0, 1])
        pictures.append(np.asarray(renderer.render_to_image()).copy())
    return pictures


def _material(rendering: Any, shader: str, **settings: float) -> Any:
    material = rendering.MaterialRecord()
    material.shader = shader
    for name, value in settings.items():
        setattr(material, name, value)
    return material


@contextmanager
def _quiet(o3d: Any) -> Iterator[None]:
    """Without the lines that the renderer writes about the machine, past Python, to the standard output."""
    output, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
            yield
    finally:
        os.dup2(output, 1)
        os.close(output)
        os.close(nowhere)


def _draw_matplotlib(axes: Any, points: Points, lines: Lines) -> None:
    """The same view from the same place; what is far is drawn first."""
    from matplotlib.collections import LineCollection

    width, height = SIZE
    forward = np.subtract(TARGET, EYE) / np.linalg.norm(np.subtract(TARGET, EYE))
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    axis = np.stack([right, np.cross(forward, right), forward])  # x right, y down, z ahead
    focal = height / 2 / np.tan(np.radians(VIEW) / 2)

    def pixels(place: np.ndarray) -> np.ndarray:
        return place[..., :2] / place[..., 2:] * focal + (width / 2, height / 2)

    place, colours = (points[0] - EYE) @ axis.T, points[1]
    order = np.argsort(-place[:, 2])
    order = order[place[order, 2] > NEAR]
    flat = pixels(place[order])
    axes.scatter(flat[:, 0], flat[:, 1], s=1.0, c=colours[order], linewidths=0)
    for segments, colour, thick in lines:
        ends, visible = clip_behind((segments - EYE) @ axis.T)
        axes.add_collection(LineCollection(list(pixels(ends[visible])), colors=colour, linewidths=thick / 2))
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
