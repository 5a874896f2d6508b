"""A picture of a codebook: how often its codes are used and which classes they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from structkd.evaluation.codes import analyze_codes


def plot_codes(
    codes: Tensor,
    num_codes: int,
    path: str | Path,
    labels: Tensor | None = None,
    class_names: Sequence[str] | None = None,
    top: int = 24,
) -> Path:
    """Draw the usage of all codes and the class composition of the most used ones.

    Args:
        codes: [N] int64 code of each element.
        num_codes: size K of the codebook.
        path: image file to write; the suffix chooses the format (`.png`).
        labels: [N] int64 classes, -1 where unknown; without them the second panel shows plain counts.
        class_names: one name a class, for the legend.
        top: how many codes the second panel shows.

    Returns:
        The path. Needs matplotlib; draws off-screen and leaves pyplot's state alone.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    report = analyze_codes(codes, num_codes, labels)
    order = report.usage.argsort(descending=True, stable=True)
    shown = order[: min(top, max(report.used, 1))]

    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)

    left.bar(range(num_codes), report.usage[order].tolist(), width=1.0, color="0.35")
    left.set(xlabel="codes, most used first", ylabel="elements")
    left.set_title(f"{report.used} of {num_codes} codes in use, perplexity {report.perplexity:.1f}")

    positions = range(shown.numel())
    if report.composition is None or report.composition.size(1) == 0:
        right.bar(positions, report.usage[shown].tolist(), color="0.35")
        right.set_title("most used codes")
    else:
        _stack(right, report.composition[shown], class_names)
        right.set_title(f"classes of the most used codes, purity {report.purity:.1%}")
    right.set(xlabel="code", ylabel="elements")
    right.set_xticks(positions, [str(code) for code in shown.tolist()], rotation=90, fontsize=7)

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def _stack(axes: Any, composition: Tensor, class_names: Sequence[str] | None) -> None:
    """Stacked bars of [codes, classes] counts, with a legend where it stays readable."""
    from matplotlib import colormaps

    num_classes = composition.size(1)
    colours = colormaps["tab20"](torch.linspace(0, 1, max(num_classes, 2)).numpy())
    bottom = torch.zeros(composition.size(0))
    for index in range(num_classes):
        height = composition[:, index].float()
        name = class_names[index] if class_names is not None else f"class {index}"
        axes.bar(range(len(bottom)), height.tolist(), bottom=bottom.tolist(), color=colours[index], label=name)
        bottom = bottom + height
    if num_classes <= 20:
        axes.legend(fontsize=7, ncols=2)
