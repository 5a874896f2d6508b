"""Boxes in the picture of the camera."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from structkd.datasets.points.boxes import EDGES, NEAR, boxes_to_camera, camera_corners, project
from structkd.datasets.points.kitti_files import Calibration
from structkd.errors import DataError, reason
from structkd.visualization.canvas import blank, save
from structkd.visualization.scene_boxes import SceneBoxes, check_classes, class_colour
from structkd.visualization.scenes import class_legend
from structkd.visualization.style import TEXT_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Inches of a picture's width.
WIDTH = 11.0
#: Corners of the front face, in the order of `structkd.datasets.points.boxes.CORNERS`.
FRONT = [0, 3, 7, 4]


def plot_camera(
    path: str | Path,
    image: str | Path | np.ndarray,
    calibration: Calibration,
    panels: Sequence[SceneBoxes],
    classes: Sequence[str],
    labels: SceneBoxes | None = None,
    title: str = "",
) -> Path:
    """The camera's picture with boxes projected into it, one below the other for each detector.

    Args:
        path: image file to write.
        image: the picture: a file, or [H, W, 3] uint8 (or float, 0 to 1).
        calibration: of the frame.
        panels: what each picture shows in the colours of the classes, with scores; none: the labels alone. The front
            of a box is tinted.
        classes: names, for the legend.
        labels: labelled boxes, in every picture, dashed in white.
        title: above all pictures.

    Returns:
        The path. What lies behind the camera is cut off.

    Raises:
        DataError: a missing or damaged picture, labels that are none of the classes.
    """
    pixels = read_image(image) if isinstance(image, (str, Path)) else image
    shown = [*panels]
    if not shown:
        shown, labels = [labels or SceneBoxes("picture", np.empty((0, 7)), np.empty(0, np.int64))], None
    check_classes([*shown, *([labels] if labels is not None else [])], classes)
    height, width = pixels.shape[:2]
    figure = blank(WIDTH, len(shown) * (WIDTH * height / width + 0.3) + 0.5)
    for axes, panel in zip(figure.subplots(len(shown), 1, squeeze=False)[:, 0], shown):
        axes.imshow(pixels)
        if labels is not None:
            _draw(axes, labels, calibration, "white")
        _draw(axes, panel, calibration)
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        axes.set_title(panel.title, fontsize=10, color=TEXT_COLOUR, loc="left")
    class_legend(figure, shown, classes, None if labels is None else "labelled (white)")
    if title:
        figure.suptitle(title, fontsize=11, color=TEXT_COLOUR)
    return save(figure, path)


def read_image(path: str | Path) -> np.ndarray:
    """[H, W, 3] of a picture.

    Raises:
        DataError: a missing or damaged file.
    """
    from matplotlib.image import imread

    if not Path(path).is_file():
        raise DataError(f"There is no picture {path}.")
    try:
        image = imread(path)
    except Exception as error:  # a damaged picture can raise anything
        raise DataError(f"{path} is no readable picture ({reason(error)}).") from error
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image[..., :3]


def box_edges(boxes: np.ndarray, calibration: Calibration) -> tuple[np.ndarray, np.ndarray]:
    """The 12 edges of LiDAR boxes [N, 7 or more] in the picture.

    Returns:
        [N, 12, 2, 2] pixels of both ends, and [N, 12] bool: something of the edge is ahead of the camera. Ends behind
        the camera are moved along the edge to just ahead of it.
    """
    corners = camera_corners(boxes_to_camera(boxes[:, :7].astype(np.float64), calibration.lidar_to_camera))
    ends, visible = clip_behind(corners[:, EDGES])
    pixels, _ = project(ends, calibration.projection)
    return pixels, visible


def clip_behind(ends: np.ndarray, near: float = NEAR) -> tuple[np.ndarray, np.ndarray]:
    """Segments cut off where they pass behind a camera that looks along z.

    Args:
        ends: [..., 2, 3] both ends in the camera's frame.
        near: least depth in metres.

    Returns:
        [..., 2, 3] the ends, moved along the segment where they were behind, and [...] bool: something is ahead.
    """
    ahead = ends[..., 2] - near
    visible = np.any(ahead > 0, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(ahead < 0, ahead / (ahead - ahead[..., ::-1]), 0)
    share = np.where(visible[..., None], share, 0)
    return ends + share[..., None] * (ends[..., ::-1, :] - ends), visible


def _draw(axes: Axes, panel: SceneBoxes, calibration: Calibration, colour: str | None = None) -> None:
    from matplotlib.collections import LineCollection, PolyCollection
    from matplotlib.patheffects import withStroke

    if not len(panel):
        return
    edges, visible = box_edges(panel.boxes, calibration)
    corners = camera_corners(boxes_to_camera(panel.boxes[:, :7].astype(np.float64), calibration.lidar_to_camera))
    fronts, _ = project(corners[:, FRONT], calibration.projection)
    whole = np.all(corners[..., 2] > NEAR, axis=1)
    style = dict(linewidths=0.9, linestyles=[(0, (3, 2))]) if colour else dict(linewidths=1.5)
    for row in np.argsort(-corners[..., 2].mean(1), kind="stable"):  # the nearest last, on top
        own = colour or class_colour(panel.labels[row])
        lines = list(edges[row][visible[row]])
        if not lines:
            continue
        axes.add_collection(LineCollection(lines, colors=own, zorder=4 if colour else 3, **style))  # type: ignore[arg-type]
        if whole[row] and not colour:
            axes.add_collection(PolyCollection([fronts[row]], facecolors=own, alpha=0.3, zorder=2))
        if panel.scores is not None:
            x, y = np.concatenate(lines).min(0)
            axes.annotate(
                f"{panel.scores[row]:.2f}",
                (max(x, 2), max(y, 12)),
                xytext=(0, 2),
                textcoords="offset points",
                fontsize=7.5,
                color="white",
                path_effects=[withStroke(linewidth=2.2, foreground=own)],
                annotation_clip=True,
                zorder=5,
            )
