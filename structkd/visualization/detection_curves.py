"""How well detectors do: precision over recall, and average precision by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from structkd.errors import ConfigError, DataError
from structkd.evaluation.kitti.criteria import DIFFICULTIES
from structkd.evaluation.kitti.curves import SAMPLES, Curve, average
from structkd.visualization.canvas import blank, save
from structkd.visualization.curves import METHOD_COLOURS, ROLE_COLOURS
from structkd.visualization.style import LINE_COLOUR, TEXT_COLOUR

LEVELS = [difficulty.name for difficulty in DIFFICULTIES]


def plot_precision_recall(
    path: str | Path, curves: Mapping[str, Mapping[str, Curve]], title: str = "precision over recall"
) -> Path:
    """A panel for each class with a line for each detector.

    Args:
        path: image file to write.
        curves: detector -> class -> curve (`KittiEvaluation.curve`). "teacher" and "student" are grey.
        title: above all panels; say the difficulty and the metric.

    Raises:
        DataError: there is no curve.
    """
    classes = list(dict.fromkeys(name for own in curves.values() for name in own))
    if not classes:
        raise DataError("There are no curves to draw.")
    colours = detector_colours(list(curves))
    figure = blank(3.7 * len(classes), 3.6)
    recall = np.linspace(0, 1, SAMPLES)
    for axes, name in zip(figure.subplots(1, len(classes), squeeze=False, sharey=True)[0], classes):
        for detector, own in curves.items():
            if name in own:
                curve = own[name]
                label = f"{detector}: AP {average(curve.precision, 40):.1f}"
                reached = np.append(np.arange(np.count_nonzero(curve.precision)), 0)  # and down to 0, where it ends
                height = np.append(100 * curve.precision[reached[:-1]], 0)
                reached[-1] = max(len(reached) - 2, 0)
                axes.plot(recall[reached], height, color=colours[detector], linewidth=1.8, label=label)
        objects = {own[name].num_objects for own in curves.values() if name in own}
        axes.set_title(f"{name} ({', '.join(map(str, sorted(objects)))} objects)", fontsize=10, color=TEXT_COLOUR)
        axes.set(xlim=(0, 1), ylim=(0, 102), xlabel="recall")
        axes.grid(color=LINE_COLOUR)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, framealpha=0.85, edgecolor="none", loc="lower left")
        if name == classes[0]:
            axes.set_ylabel("precision, %")
    figure.suptitle(title, fontsize=11, color=TEXT_COLOUR)
    return save(figure, path)


def plot_average_precision(
    path: str | Path, results: Mapping[str, Mapping[str, Any]], metric: str = "3d", level: str = "moderate"
) -> Path:
    """Bars of AP40 by class, side by side for each detector.

    Args:
        path: image file to write.
        results: detector -> what `KittiEvaluation.results` gives.
        metric: "2d", "bev", "3d" or "aos".
        level: "easy", "moderate" or "hard".

    Raises:
        ConfigError: an unknown level or metric. DataError: there are no results.
    """
    if level not in LEVELS:
        raise ConfigError(f"level is {level!r}; expected one of {', '.join(LEVELS)}.")
    classes = list(dict.fromkeys(name for own in results.values() for name in own))
    if not classes:
        raise DataError("There are no results to draw.")
    known = {key for own in results.values() for found in own.values() for key, value in found.items() if value}
    if metric not in known:
        raise ConfigError(f"metric is {metric!r}; expected one of {', '.join(sorted(known))}.")
    figure = blank(max(4.5, 1.1 + 0.55 * len(classes) * (len(results) + 1)), 3.6)
    axes = figure.subplots()
    width, colours = 0.8 / len(results), detector_colours(list(results))
    for number, (detector, own) in enumerate(results.items()):
        values = [
            (own.get(name, {}).get(metric) or {"AP40": [0, 0, 0]})["AP40"][LEVELS.index(level)] for name in classes
        ]
        places = np.arange(len(classes)) + (number - (len(results) - 1) / 2) * width
        bars = axes.bar(places, values, 0.92 * width, color=colours[detector], label=detector)
        axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
    axes.set_xticks(range(len(classes)), classes)
    axes.set(ylim=(0, 108), ylabel=f"{metric.upper()} AP40, % ({level})")
    axes.set_yticks(range(0, 101, 20))
    axes.grid(axis="y", color=LINE_COLOUR)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    figure.legend(loc="outside lower center", ncols=len(results), frameon=False, fontsize=9)
    return save(figure, path)


def detector_colours(names: Sequence[str]) -> dict[str, str]:
    """Grey for teachers and plain students, as in the report; a colour of its own for every other detector."""
    grey = {"teacher": ROLE_COLOURS["teacher"], "student": ROLE_COLOURS["plain"]}
    others = [name for name in names if name not in grey]
    return {name: grey.get(name) or METHOD_COLOURS[others.index(name) % len(METHOD_COLOURS)] for name in names}
