"""Benchmarks of stages that hand files on: processor time and memory of each, alone in its process."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import STATUS, Row, Setting

#: Peak memory that a stage may take at the size "products".
LIMIT_GB = 8.0


class Peaks(threading.Thread):
    """Watches a process's resident memory, the mapped and the anonymous part apart."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.start_gb = self.read()["RssAnon"]
        self.gb = self.read()
        self.stopped = threading.Event()

    @staticmethod
    def read() -> dict[str, float]:
        wanted = {"VmHWM", "RssAnon", "RssFile"}
        fields = (line.partition(":") for line in STATUS.read_text().splitlines())
        return {name: int(value.split()[0]) * 1024 / 1e9 for name, _, value in fields if name in wanted}

    def run(self) -> None:
        while not self.stopped.wait(0.02):
            self.gb = {name: max(value, self.gb[name]) for name, value in self.read().items()}


@dataclass(frozen=True)
class Stage:
    """One stage at one size, alone in its process."""

    name: str
    run: Callable[[str], dict[str, float] | None]
    folder: Callable[[str], Path]

    def measure(self, setting: Setting) -> list[Row]:
        found = self._in_a_fork(setting)
        within = found["peak_gb"] <= LIMIT_GB
        limit = (f"<= {LIMIT_GB:g}", within) if setting.size == "products" else ("", None)
        return [
            Row(self.name, "processor time, s", None, found["cpu_seconds"], detail=found),
            Row(self.name, "peak memory, GB", None, found["peak_gb"], None, *limit),
            Row(self.name, "anonymous, GB", None, found["anonymous_gb"]),
        ]

    def _in_a_fork(self, setting: Setting) -> dict[str, Any]:
        """What `part` gives in a child of this process, whose own memory is what the libraries take."""
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=lambda: sender.send(self.part(setting, "alone")))
        child.start()
        sender.close()
        try:
            found = receiver.recv()
        except EOFError as error:
            child.join()
            raise RuntimeError(f"{self.name}: the process that measures it ended with {child.exitcode}.") from error
        child.join()
        log = self.folder(setting.size) / "measured.jsonl"  # what is lost of a run that is stopped
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps({"name": self.name, **found}) + "\n")
        setting.say(f"{self.name}: {found['seconds']:.1f} s, {found['cpu_seconds']:.1f} s of them on the processor")
        return found

    def part(self, setting: Setting, part: str) -> dict[str, Any]:
        peaks = Peaks()
        peaks.start()
        start, cpu = time.perf_counter(), time.process_time()
        counts = self.run(setting.size) or {}
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        peaks.stopped.set()
        peaks.join()
        files = {str(path.relative_to(self.folder(setting.size))): path.stat().st_size for path in self.files(setting)}
        return {
            "about": " ".join((self.run.__doc__ or "").split()),
            "seconds": seconds,
            "cpu_seconds": cpu,
            "peak_gb": peaks.read()["VmHWM"],
            "anonymous_gb": peaks.gb["RssAnon"],
            "mapped_gb": peaks.gb["RssFile"],
            "anonymous_at_start_gb": peaks.start_gb,
            "bytes_on_disk": sum(files.values()),
            "files": files,
            **counts,
        }

    def files(self, setting: Setting) -> list[Path]:
        return sorted(path for path in self.folder(setting.size).rglob("*.npy"))
