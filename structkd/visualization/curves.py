"""Figures of an experiment as PNG bytes: scores, paired differences, learning curves, latency."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from structkd.visualization.run import Line, Run
from structkd.visualization.tables import latency_parts, stage_title
from structkd.visualization.verdicts import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Teachers and plain students stay grey in every figure; each distilled student has a colour of its own.
ROLE_COLOURS = {"teacher": "#39424e", "plain": "#9aa3af", "auxiliary": "#c3b091"}
METHOD_COLOURS = ("#2563eb", "#ea7317", "#16915f", "#8b5cf6", "#d63384", "#0e97a7", "#b8860b", "#b23a48")


def figures(run: Run) -> dict[str, bytes]:
    """The figures that the run has data for, by name: "scores", "differences", "curves", "latency"."""
    draw: dict[str, Callable[[Run], bytes | None]] = {
        "scores": scores_figure,
        "differences": differences_figure,
        "curves": curves_figure,
        "latency": latency_figure,
    }
    drawn = {name: function(run) for name, function in draw.items()}
    return {name: png for name, png in drawn.items() if png is not None}


def scores_figure(run: Run) -> bytes | None:
    """The primary metric of every stage: each seed a point, mean and standard deviation a bar."""
    metric = run.results["primary_metric"]
    stages = {name: stage for name, stage in run.results["stages"].items() if _points(stage["metrics"].get(metric))}
    if not stages:
        return None
    figure, (axes,) = _canvas(1, height=0.9 + 0.42 * len(stages))
    colours = stage_colours(run.results)
    for row, (name, stage) in enumerate(stages.items()):
        entry = stage["metrics"][metric]
        _spread(axes, row, _points(entry), colours[name], 100 * (entry["std"] or 0))
    _rows(axes, [stage_title(stage) for stage in stages.values()])
    axes.set(xlabel=f"{metric.replace('/', ' ')}, % (points: seeds; bar: mean ± standard deviation)")
    return _png(figure)


def differences_figure(run: Run) -> bytes | None:
    """Paired differences of the distilled students, seed by seed, to the plain student and to their teacher."""
    metric, stages = run.results["primary_metric"], run.results["stages"]
    panels = {}
    for other in ("plain", "teacher"):
        found = {name: _points(p.get(other, {}).get(metric)) for name, p in run.results.get("paired", {}).items()}
        panels[other] = {name: values for name, values in found.items() if values}
    panels = {other: values for other, values in panels.items() if values}
    if not panels:
        return None
    figure, panes = _canvas(len(panels), height=1.1 + 0.42 * max(map(len, panels.values())))
    colours = stage_colours(run.results)
    for axes, (other, found) in zip(panes, panels.items()):
        axes.axvline(0, color="0.35", linewidth=1)
        for row, (name, values) in enumerate(found.items()):
            bounds = interval(values)
            _spread(axes, row, values, colours[name], (bounds[1] - bounds[0]) / 2 if bounds else 0, "+.2f")
        _rows(axes, [stages[name]["title"] for name in found])
        axes.set(title=f"to the {'plain student' if other == 'plain' else 'teacher'}", xlabel="percentage points")
    return _png(figure)


def curves_figure(run: Run) -> bytes | None:
    """Training loss and validation score over epochs: thin lines for seeds, a thick one for their mean."""
    primary = run.results["primary_metric"]
    wanted = "val/" + primary.partition("/")[2]
    panels = {
        "training loss": {stage: _series(seeds, "train/loss") for stage, seeds in run.curves.items()},
        wanted.replace("/", " ") + ", %": {stage: _series(seeds, wanted) for stage, seeds in run.curves.items()},
    }
    panels = {title: {stage: s for stage, s in series.items() if s} for title, series in panels.items()}
    panels = {title: series for title, series in panels.items() if series}
    if not panels:
        return None
    figure, panes = _canvas(len(panels), height=3.4 + 0.2 * len(run.curves) / 4)
    colours, stages = stage_colours(run.results), run.results["stages"]
    for axes, (title, series) in zip(panes, panels.items()):
        factor = 100 if title.endswith("%") else 1
        for stage, seeds in series.items():
            for points in seeds:
                axes.plot(*_scaled(points, factor), color=colours[stage], linewidth=0.6, alpha=0.35)
            label = stage_title(stages[stage])
            axes.plot(*_scaled(_mean_curve(seeds), factor), color=colours[stage], linewidth=1.8, label=label)
        if factor == 1 and all(value > 0 for seeds in series.values() for points in seeds for value in points.values()):
            axes.set_yscale("log")
        axes.set(title=title, xlabel="epoch")
        axes.grid(color="0.92")
    handles, labels = max((axes.get_legend_handles_labels() for axes in panes), key=lambda pair: len(pair[1]))
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return _png(figure)


def latency_figure(run: Run) -> bytes | None:
    """Milliseconds for one batch, part by part (fetching of inputs, computing), one panel a batch size."""
    stages = {name: stage for name, stage in run.results["stages"].items() if stage.get("latency_ms")}
    if not stages:
        return None
    sizes = sorted({size for stage in stages.values() for size in stage["latency_ms"]}, key=int)
    figure, panes = _canvas(len(sizes), height=1.1 + 0.42 * len(stages))
    colours = stage_colours(run.results)
    for axes, size in zip(panes, sizes):
        totals = []
        parts = latency_parts([stage["latency_ms"].get(size) or {} for stage in stages.values()])
        for row, (name, stage) in enumerate(stages.items()):
            entry = stage["latency_ms"].get(size) or {}
            done = 0.0
            for part, strength in zip(parts, _strengths(len(parts))):
                width = entry.get(part) or 0.0
                axes.barh(row, width, left=done, color=colours[name], alpha=strength, height=0.6)
                done += width
            axes.annotate(f" {done:.3g}", (done, row), va="center", fontsize=8.5)
            totals.append(done)
        axes.set_xlim(0, 1.18 * max(totals) or 1)
        _rows(axes, [stage_title(stage) for stage in stages.values()], labels=axes is panes[0])
        axes.set(title=f"batch of {size}", xlabel=f"ms; from pale to full: {', '.join(parts)}")
    return _png(figure)


def _strengths(count: int) -> list[float]:
    """Opacities from pale to full."""
    return [1.0] if count < 2 else [0.35 + 0.65 * step / (count - 1) for step in range(count)]


def stage_colours(results: Mapping[str, Any]) -> dict[str, str]:
    """One colour a stage, the same in every figure of an experiment."""
    distilled = [name for name, stage in results["stages"].items() if stage["role"] not in ROLE_COLOURS]
    return {
        name: ROLE_COLOURS.get(stage["role"]) or METHOD_COLOURS[distilled.index(name) % len(METHOD_COLOURS)]
        for name, stage in results["stages"].items()
    }


def _canvas(panes: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with `panes` axes side by side; pyplot, and with it any window or shared state, is left alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, panes, squeeze=False)[0])
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _rows(axes: Axes, titles: Sequence[str], labels: bool = True) -> None:
    """Name the rows, the first on top."""
    axes.set_yticks(range(len(titles)), titles if labels else [""] * len(titles))
    axes.set_ylim(len(titles) - 0.5, -0.5)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def _spread(axes: Axes, row: int, points: Sequence[float], colour: str, half_width: float, form: str = ".2f") -> None:
    mean = sum(points) / len(points)
    axes.errorbar(mean, row, xerr=half_width, fmt="|", color=colour, markersize=13, capsize=3, linewidth=1.6)
    axes.scatter(points, [row] * len(points), color=colour, alpha=0.45, s=22, linewidths=0)
    axes.annotate(f"{mean:{form}}", (mean, row), xytext=(0, 8), textcoords="offset points", ha="center", fontsize=8)


def _points(entry: Mapping[str, Any] | None) -> list[float]:
    """The values of a metric in percent, without those that are missing."""
    return [100 * value for value in (entry or {}).get("values", ()) if value is not None]


def _series(seeds: Mapping[int, Sequence[Line]], key: str) -> list[dict[float, float]]:
    """Epoch -> value for each seed that recorded `key`."""
    found = [{line["epoch"]: line[key] for line in lines if line.get(key) is not None} for lines in seeds.values()]
    return [points for points in found if points]


def _mean_curve(seeds: Sequence[Mapping[float, float]]) -> dict[float, float]:
    """The mean over seeds, at the epochs that all of them reached."""
    shared = sorted(set.intersection(*(set(points) for points in seeds)))
    return {epoch: sum(points[epoch] for points in seeds) / len(seeds) for epoch in shared}


def _scaled(points: Mapping[float, float], factor: float) -> tuple[list[float], list[float]]:
    return list(points), [factor * value for value in points.values()]
