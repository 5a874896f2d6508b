"""Time, peak memory and achieved rates of one op's forms on the device at hand, against what that device can do."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Row, Setting, extra_memory
from structkd.backends import OPS, Backend

#: Bytes of working memory above which an unfused form is not tried.
ROOM = {"cuda": 60e9, "cpu": 4e9}
Call = Callable[..., Any]


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Problem:
    """What an op is asked at one shape.

    Attributes:
        arguments: of the op, on the device.
        forms: published formulations by name, taking the same arguments; the first is the baseline.
        traffic: bytes that must be moved, forward and backward, gathered rows counted each time.
        flops: floating-point operations, where these and not bytes are the limit.
        unfused: bytes that the published forms hold, to leave out what has no room.
    """

    arguments: Sequence[Any]
    forms: Mapping[str, Call] = field(default_factory=dict)
    traffic: float = 0
    flops: float = 0
    unfused: float = 0


@dataclass(frozen=True)
class Kernel:
    """An op at a shape: every backend that runs here, and the published forms, in one process, turn by turn.

    Attributes:
        op: its name.
        shape: the shape's name.
        make: makes the problem on a device.
        faster, smaller: gains in time and memory asked of `asked` over the baseline on a GPU.
        share: share of the copy bandwidth asked of it there.
    """

    op: str
    shape: str
    make: Callable[[torch.device], Problem]
    faster: float | None = None
    smaller: float | None = None
    share: float | None = None
    asked: str = "triton"

    @property
    def name(self) -> str:
        return f"{self.op}, {self.shape}"

    def measure(self, setting: Setting) -> list[Row]:
        where = device()
        setting.say(f"{self.name}: preparing")
        torch.manual_seed(0)
        problem = self.make(where)
        forms = self._forms(problem, where)
        found: dict[str, dict[str, Any]] = {}
        for what, step in (("forward", forward), ("forward + backward", both)):
            for form, call in forms.items():
                setting.say(f"{self.name}: {what}, {form}")
                step(call, problem.arguments)  # compiles, sorts and fills memories
            times: dict[str, list[float]] = {form: [] for form in forms}
            for _ in range(setting.repeats):
                for form, call in forms.items():
                    times[form].append(timed(step, call, problem.arguments, where))
            for form in forms:
                found.setdefault(form, {})[what] = times[form]
        for form, call in forms.items():
            found[form]["memory"] = peak(call, problem.arguments, where)
        return self._rows(found, problem, next(iter(problem.forms), None), where)

    def part(self, setting: Setting, part: str) -> dict[str, Any]:
        raise NotImplementedError

    def _forms(self, problem: Problem, where: torch.device) -> dict[str, Call]:
        op, forms = OPS[self.op], {}
        room = problem.unfused < ROOM[where.type]
        for name, call in problem.forms.items():
            if room:
                forms[name] = call
        for backend in op.backends:
            if not backend.why_not(*problem.arguments) and (room or not holds_everything(backend)):
                forms[backend.name] = backend.run
        return forms

    def _rows(
        self, found: dict[str, dict[str, Any]], problem: Problem, baseline: str | None, where: torch.device
    ) -> list[Row]:
        rows = []
        base = found.get(baseline or "", {})
        for form, figures in found.items():
            detail = {
                "op": self.op, "form": form, "shape": self.shape, "device": where.type, "baseline": baseline,
                "backend": form if OPS[self.op].has(form) else None, **figures,
            }  # fmt: skip
            old = {key: _middle(value) for key, value in base.items()}
            new = {key: _middle(value) for key, value in figures.items()}
            for what in ("forward", "forward + backward"):
                asked = self.faster if what != "forward" else None
                rows.append(self._row(form, f"{form}: {what}, ms", old.get(what), new[what], asked, where, detail))
                detail = {"op": self.op, "form": form}
            if new["memory"] is not None:
                rows.append(
                    self._row(form, f"{form}: memory, MB", old.get("memory"), new["memory"], self.smaller, where, {})
                )
            seconds = new["forward + backward"] / 1e3
            if problem.traffic:
                share = 100 * problem.traffic / seconds / (copy_rate(where) * 1e9)
                met = share >= 100 * self.share if self._asks(form, self.share, where) and self.share else None
                target = f">= {100 * self.share:g}" if met is not None and self.share else ""
                rows.append(Row(self.name, f"{form}: % of copy bandwidth", None, share, None, target, met))
            if problem.flops:
                share = 100 * problem.flops / seconds / (matmul_rate(where) * 1e12)
                rows.append(Row(self.name, f"{form}: % of matmul rate", None, share))
        return rows

    def _asks(self, form: str, target: float | None, where: torch.device) -> bool:
        return target is not None and form == self.asked and where.type == "cuda"

    def _row(
        self,
        form: str,
        measure: str,
        old: float | None,
        new: float,
        asked: float | None,
        where: torch.device,
        detail: dict[str, Any],
    ) -> Row:
        gain = None if old is None else old / max(new, 1e-9)
        if gain is None or not self._asks(form, asked, where):
            return Row(self.name, measure, old, new, gain, detail=detail)
        return Row(self.name, measure, old, new, gain, f"gain >= {asked:g}", gain >= (asked or 0), detail)


class Limits:
    """What the device does at best: a copy, and a matrix product in float32 and bfloat16."""

    name = "the device"

    def measure(self, setting: Setting) -> list[Row]:
        where = device()
        return [
            Row(self.name, "copy bandwidth, GB/s", None, copy_rate(where), detail={"device": where.type}),
            Row(self.name, "matrix product, TFLOP/s", None, matmul_rate(where)),
        ]

    def part(self, setting: Setting, part: str) -> dict[str, Any]:
        raise NotImplementedError


def holds_everything(backend: Backend) -> bool:
    """Whether a backend is an unfused form: those are the references."""
    return backend.name in ("naive", "gather", "composed")


def forward(call: Call, arguments: Sequence[Any]) -> None:
    with torch.no_grad():
        call(*arguments)


def both(call: Call, arguments: Sequence[Any]) -> None:
    learns = [x for x in arguments if isinstance(x, Tensor) and x.requires_grad]
    out = call(*arguments)
    if learns:
        torch.autograd.grad(out, learns, torch.ones_like(out))


def timed(step: Callable[..., None], call: Call, arguments: Sequence[Any], where: torch.device) -> float:
    """Milliseconds until the device is done; of a single thread on the CPU, those that it was given."""
    alone = where.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    if where.type == "cuda":
        torch.cuda.synchronize()
    start = clock()
    step(call, arguments)
    if where.type == "cuda":
        torch.cuda.synchronize()
    return (clock() - start) * 1e3


def peak(call: Call, arguments: Sequence[Any], where: torch.device) -> float | None:
    """MB that forward and backward take at most, beside what is there."""
    gc.collect()
    if where.type == "cpu":
        return extra_memory(lambda: both(call, arguments))
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    both(call, arguments)
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


@cache
def copy_rate(where: torch.device) -> float:
    """GB/s read and written by a copy far larger than any cache."""
    numbers = 2**29 if where.type == "cuda" else 2**24
    source = torch.ones(numbers, device=where)
    target = torch.empty_like(source)
    best = min(timed(lambda call, _: call(), lambda: target.copy_(source), (), where) for _ in range(7))
    return 2 * source.numel() * source.element_size() / best / 1e6


@cache
def matmul_rate(where: torch.device) -> float:
    """TFLOP/s of a large product: bfloat16 on a GPU, float32 on a CPU."""
    size, dtype = (8192, torch.bfloat16) if where.type == "cuda" else (768, torch.float32)
    a = torch.randn(size, size, device=where, dtype=dtype)
    best = min(timed(lambda call, _: call(), lambda: a @ a, (), where) for _ in range(5))
    return 2 * size**3 / best / 1e9


def _middle(value: Any) -> Any:
    return statistics.median(value) if isinstance(value, list) else value
