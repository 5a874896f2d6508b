"""What a larger graph would take: processor time, memory and disk, from what `scale` measured of smaller ones."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.scale import HIDDEN, LAYERS, NUMBERS, STRETCHES

RESULTS = Path(__file__).parent / "results"
#: Measured at two sizes: times come from the larger one, what memory grows by a node from both.
FILES = (RESULTS / "scale_twentieth_cpu.json", RESULTS / "scale_cpu.json")
#: ogbn-papers100M, whose citations become edges in both directions.
PAPERS = dict(num_nodes=111_059_956, num_edges=1_615_685_872, num_features=128, num_classes=172)


#: Bytes a node, where the smaller size measured does not fill a block of keys, so that the growth misleads: labels, and
#: three arrays of row pointers.
HELD = {"edge list to CSR": 4 * 8}


@dataclass(frozen=True)
class Line:
    """One stage of the plan.

    Attributes:
        name: of the stage.
        hours: of one processor.
        anonymous_gb: memory that cannot be given back; None where it was measured at one size only.
        random_gb: a matrix that is read at random, in memory if it is to be fast.
        stretches: passes over the edges that keep within the memory asked for; 1 where nothing is read at random.
        disk_gb: written.
    """

    name: str
    hours: float
    anonymous_gb: float | None
    random_gb: float
    stretches: int
    disk_gb: float


def shape(numbers: Mapping[str, int]) -> tuple[int, int, int, int]:
    """Nodes, directed edges, features, classes."""
    return numbers["num_nodes"], 2 * numbers["num_edges"], numbers["num_features"], numbers["num_classes"]


def macs(features: int, classes: int) -> int:
    """Multiply-accumulates of the benchmark's MLP, and of a teacher's weights, for one node."""
    widths = [features, *[HIDDEN] * (LAYERS - 1), classes]
    return sum(a * b for a, b in pairwise(widths))


def columns(features: int, classes: int) -> int:
    """Columns that a teacher's layers sum along the edges, all together: the narrower side of each layer."""
    widths = [features, *[HIDDEN] * (LAYERS - 1), classes]
    return sum(min(a, b) for a, b in pairwise(widths))


def plan(
    small: Mapping[str, Mapping[str, Any]],
    large: Mapping[str, Mapping[str, Any]],
    numbers: Mapping[str, int] = PAPERS,
    memory_gb: float = 64.0,
    sizes: tuple[Mapping[str, int], Mapping[str, int]] = (NUMBERS["twentieth"], NUMBERS["products"]),
) -> list[Line]:
    """The stages for a graph of other numbers.

    Args:
        small, large: stage -> figures, as measured at the two `sizes`.
        numbers: of the graph planned for.
        memory_gb: what a machine has; two thirds of it may hold a matrix that is read at random.
        sizes: numbers of the two graphs measured.

    The time of a stage that is missing among the large figures comes from the small ones. Times grow with the
    multiply-accumulates of dense layers, and with edges times columns of sparse products; each further stretch adds
    what it added in the measurement. Times are the processor's: the disk must keep up, see `disk_gb`. Memory grows by
    the node as it did between the two sizes.
    """
    nodes, edges, features, classes = shape(numbers)

    def measured(name: str) -> tuple[float, tuple[int, int, int, int]]:
        """Seconds, and the numbers of the largest graph that the stage was measured on."""
        figures, size = (large, sizes[1]) if name in large else (small, sizes[0])
        return float(figures[name]["cpu_seconds"]), shape(size)

    def unit(name: str, work: Callable[[int, int, int, int], float]) -> float:
        seconds, size = measured(name)
        return seconds / work(*size)

    def memory(name: str) -> float | None:
        if name not in large:
            return None
        low, high = (float(figures[name]["anonymous_gb"]) for figures in (small, large))
        slope = max(high - low, 0) / (sizes[1]["num_nodes"] - sizes[0]["num_nodes"])
        return high + (HELD.get(name, 0) / 1e9 or slope) * max(nodes - sizes[1]["num_nodes"], 0)

    dense = unit("MLP, all nodes", lambda n, e, f, k: n * macs(f, k))
    seconds, (n, e, f, k) = measured("teacher, layer-wise")
    along = max(seconds - dense * n * macs(f, k), 0.0) / (e * columns(f, k))
    longer, size = measured("sparse product, 4 stretches")
    stretch = max(longer - unit("sparse product", lambda n, e, f, k: e) * size[1], 0.0) / (STRETCHES - 1) / size[1]
    sort = unit("edge list to CSR", lambda n, e, f, k: e)
    check = unit("checking all files", lambda n, e, f, k: e + n * f)
    target = unit("low-frequency targets", lambda n, e, f, k: e * (k + 1))
    student = unit("student, one epoch", lambda n, e, f, k: n * macs(f, k))

    def line(name: str, seconds: float, disk: float, random: float = 0.0, passes: int = 0) -> Line:
        count = max(1, math.ceil(random / (memory_gb * 2 / 3)))
        seconds += passes * (count - 1) * stretch * edges
        return Line(name, seconds / 3600, memory(name), random, count, disk)

    wide, narrow, gb = 4 * nodes * HIDDEN / 1e9, 4 * nodes * classes / 1e9, 1e-9
    return [
        line("edge list to CSR", sort * edges, (12 * edges + 8 * nodes) * gb),
        line("checking all files", check * (edges + nodes * features), 0.0),
        line(
            "teacher, layer-wise",
            dense * nodes * macs(features, classes) + along * edges * columns(features, classes),
            2 * wide + 2 * narrow,
            wide,
            LAYERS,
        ),
        line("low-frequency targets", target * edges * (classes + 1), 3 * narrow, narrow, 1),
        line("student, one epoch", student * nodes * macs(features, classes), 0.0),
    ]


def plan_table(files: Sequence[Path] = FILES, memory_gb: float = 64.0) -> str:
    """The plan for papers100M as text."""
    small, large = (
        {row["name"]: row["detail"] for row in json.loads(path.read_text(encoding="utf-8"))["rows"] if row["detail"]}
        for path in files
    )
    nodes, edges, features, classes = shape(PAPERS)
    head = ("stage", "hours, 1 core", "anonymous, GB", "read at random, GB", "stretches", "written, GB")
    cells = [head] + [
        (
            line.name,
            f"{line.hours:.2g}",
            "?" if line.anonymous_gb is None else f"{line.anonymous_gb:.1f}",
            f"{line.random_gb:.0f}" if line.random_gb else "-",
            str(line.stretches),
            f"{line.disk_gb:.0f}" if line.disk_gb else "-",
        )
        for line in plan(small, large, memory_gb=memory_gb)
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    rows = "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(t.rjust(w) for t, w in zip(row[1:], widths[1:]))]) for row in cells
    )
    files_gb = (4 * nodes * features + 4 * edges + 16 * nodes) / 1e9
    return (
        f"papers100M: {nodes / 1e6:.0f} M nodes, {edges / 1e9:.2f} G directed edges, {features} features, {classes} "
        f"classes, on a machine with {memory_gb:g} GB; a plan, computed, not run\n"
        f"graph on disk {files_gb:.0f} GB; teacher and student: {LAYERS} layers of {HIDDEN}\n\n{rows}"
    )
