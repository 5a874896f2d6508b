"""What every benchmark suite shares: interleaved timing, peak memory in a process of its own, rows of a table."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

SCRIPT = Path(__file__).resolve().parents[1] / "benchmark.py"
STATUS = Path("/proc/self/status")
PEAK_RESET = Path("/proc/self/clear_refs")
#: Makes glibc give freed blocks back at once; else the peak depends on what it kept for reuse.
EXACT = {"MALLOC_MMAP_THRESHOLD_": "65536"}


@dataclass(frozen=True)
class Setting:
    """What a person chose on the command line.

    Attributes:
        suite, size: names of the suite and of one of its sizes.
        threads: of torch.
        repeats: timed calls of each side.
        say: shows progress.
    """

    suite: str
    size: str
    threads: int
    repeats: int
    say: Callable[[str], None] = field(default=lambda text: None, compare=False)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: of the benchmark.
        measure: what was measured, unit included.
        baseline, candidate: the figures; None where there is none.
        gain: baseline / candidate.
        target: what is asked of the gain, or (`limit`) of the candidate's own figure.
        met: whether it is reached; None without a target.
        detail: spreads, agreement of results and the like, for the JSON file.
    """

    name: str
    measure: str
    baseline: float | None
    candidate: float | None
    gain: float | None = None
    target: str = ""
    met: bool | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        return asdict(self)


class Benchmark(Protocol):
    name: str

    def measure(self, setting: Setting) -> list[Row]:
        """Rows of the table."""

    def part(self, setting: Setting, part: str) -> dict[str, Any]:
        """What is run in a process of its own, as plain data."""


@dataclass(frozen=True)
class Comparison:
    """A baseline against a candidate: time in one process, turn by turn, and extra memory in one process each.

    Attributes:
        name: of the benchmark.
        sides: makes the two calls from the name of the size. What they share is prepared here, off the clock. Each
            returns tensors (value, gradients) that are compared.
        faster: gain in time asked for, at the sizes in `asked_at`.
        smaller: gain in extra memory asked for there.
        about: what the two sides are.
    """

    name: str
    sides: Callable[[str], tuple[Callable[[], Sequence[Tensor]], Callable[[], Sequence[Tensor]]]]
    faster: float | None = None
    smaller: float | None = None
    asked_at: tuple[str, ...] = ()
    about: str = ""

    def measure(self, setting: Setting) -> list[Row]:
        setting.say(f"{self.name}: preparing")
        baseline, candidate = self.sides(setting.size)
        agreement = _agreement(baseline(), candidate())  # also the warm-up
        times: tuple[list[float], list[float]] = ([], [])
        for i in range(setting.repeats):
            setting.say(f"{self.name}: repeat {i + 1} of {setting.repeats}")
            for call, log in zip((baseline, candidate), times):
                gc.collect()
                start = time.perf_counter()
                call()
                log.append((time.perf_counter() - start) * 1e3)
        del baseline, candidate, call
        detail = {"about": self.about, **agreement, "baseline_ms": times[0], "candidate_ms": times[1]}
        old, new = (statistics.median(log) for log in times)
        rows = [self._row(setting, "time, ms", old, new, self.faster, detail)]
        setting.say(f"{self.name}: memory")
        old, new = (in_own_process(setting, self.name, side, EXACT)["extra_mb"] for side in ("baseline", "candidate"))
        if old is not None and new is not None:
            rows.append(self._row(setting, "extra memory, MB", old, new, self.smaller, {}))
        return rows

    def part(self, setting: Setting, part: str) -> dict[str, Any]:
        call = self.sides(setting.size)[part == "candidate"]
        return {"extra_mb": extra_memory(call)}

    def _row(
        self, setting: Setting, measure: str, old: float, new: float, asked: float | None, detail: dict[str, Any]
    ) -> Row:
        gain = old / max(new, 1e-9)
        if asked is None or setting.size not in self.asked_at:
            return Row(self.name, measure, old, new, gain, detail=detail)
        return Row(self.name, measure, old, new, gain, f"gain >= {asked:g}", gain >= asked, detail)


@dataclass(frozen=True)
class Alone:
    """Something too large to have a baseline: its time, and the peak memory of a process that does nothing else.

    Attributes:
        name: of the benchmark.
        run: does it at a size and returns figures for the JSON file, "seconds" among them.
        limit_gb: peak memory allowed, at the sizes in `asked_at`.
    """

    name: str
    run: Callable[[str, Callable[[str], None]], dict[str, float]]
    limit_gb: float | None = None
    asked_at: tuple[str, ...] = ()
    about: str = ""

    def measure(self, setting: Setting) -> list[Row]:
        setting.say(f"{self.name}: in a process of its own")
        detail = in_own_process(setting, self.name, "alone")
        rows = [Row(self.name, "time, s", None, detail["seconds"], detail={"about": self.about, **detail})]
        peak = detail.get("peak_gb")
        if peak is not None:
            asked = self.limit_gb is not None and setting.size in self.asked_at
            limit = (f"<= {self.limit_gb:g}", peak <= self.limit_gb) if asked else ("", None)
            rows.append(Row(self.name, "peak memory of the process, GB", None, peak, None, *limit))
        return rows

    def part(self, setting: Setting, part: str) -> dict[str, Any]:
        figures = self.run(setting.size, setting.say)
        peak = _memory("VmHWM")
        return {**figures, "peak_gb": peak / 1e9 if peak else None}


def extra_memory(call: Callable[[], Any]) -> float | None:
    """MB by which the first call raises the peak resident memory of this process; None where it cannot be told."""
    gc.collect()
    torch.softmax(torch.randn(64, 64, requires_grad=True) @ torch.randn(64, 64), -1).sum().backward()  # load libraries
    _return_freed()
    before = _memory("VmRSS")
    try:
        PEAK_RESET.write_text("5")
    except OSError:
        return None
    call()
    peak = _memory("VmHWM")
    return None if before is None or peak is None else max(peak - before, 0) / 1e6


def _return_freed() -> None:
    """Hand freed memory back to the system, or what the call takes of it would not count."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def in_own_process(
    setting: Setting, name: str, part: str, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a part of a benchmark in a fresh process; its progress shows here, its figures are returned."""
    command = [sys.executable, str(SCRIPT), setting.suite, "--size", setting.size, "--threads", str(setting.threads)]
    done = subprocess.run(
        [*command, "--part", name, part], stdout=subprocess.PIPE, text=True, env=os.environ | (environment or {})
    )
    if done.returncode:
        raise RuntimeError(f"{name}, {part}: the process that measures it ended with code {done.returncode}.")
    return json.loads(done.stdout.splitlines()[-1])


def table(rows: Sequence[Row]) -> str:
    """The rows as plain text; a name is printed once."""
    cells = [("benchmark", "measure", "baseline", "candidate", "gain", "target", "")]
    for above, row in zip([None, *rows], rows):
        name = row.name if above is None or above.name != row.name else ""
        gain = "" if row.gain is None else f"{row.gain:.3g}x"
        verdict = "" if row.met is None else "met" if row.met else "MISSED"
        cells.append((name, row.measure, _number(row.baseline), _number(row.candidate), gain, row.target, verdict))
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(text.rjust(w) if 2 <= i <= 4 else text.ljust(w) for i, (text, w) in enumerate(zip(line, widths)))
        .rstrip()
        for line in cells
    )  # fmt: skip


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _agreement(old: Sequence[Tensor], new: Sequence[Tensor]) -> dict[str, float]:
    """Largest difference between the sides' results, relative to the largest number in them."""
    gaps = [
        float((a.double() - b.double()).abs().max() / a.double().abs().max().clamp(min=1e-30)) for a, b in zip(old, new)
    ]
    return {"largest_relative_difference": max(gaps)}


def _memory(key: str) -> int | None:
    """VmRSS (resident now) or VmHWM (its peak) of this process in bytes, where the system tells."""
    if not STATUS.is_file():
        return None
    found = re.search(rf"{key}:\s+(\d+) kB", STATUS.read_text())
    return int(found.group(1)) * 1024 if found else None
