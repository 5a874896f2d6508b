"""Measure what structkd promises, against a named baseline in the same run.

python tools/benchmark.py graphs
python tools/benchmark.py graphs --size products --json products.json
python tools/benchmark.py graphs --only "high-frequency loss" --repeats 9

Times are medians; baseline and candidate take turns, so that both see the machine in the same state. Extra memory is
the rise of a process's peak resident memory in its first call, measured in a fresh process for each side.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SUITES = ("graphs", "points")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("--size", help="size of the data (default: the suite's second, after a trial)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of torch (default: all cores)")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each side (default: 5)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run these benchmarks only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything measured to this file")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)  # what in_own_process asks of a fresh process
    options = parser.parse_args(arguments)
    if min(options.threads, options.repeats) < 1:
        parser.error("--threads and --repeats must be at least 1")
    if options.json and not options.json.resolve().parent.is_dir():
        parser.error(f"there is no folder {options.json.parent} to write {options.json.name} to")
    return options


def machine(threads: int) -> dict:
    """Where the figures come from."""
    import torch

    import structkd
    from structkd.backends import devices, version

    packages = ("torch", "torch-geometric", "scipy", "numpy")
    return {
        "device": devices()[0],
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {"structkd": structkd.__version__, **{name: version(name) for name in packages}},
        "blas": "mkl" if torch.backends.mkl.is_available() else "other",
    }


def processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    import torch

    torch.set_num_threads(options.threads)
    from benchmarks.harness import Setting, table

    start = time.time()

    def say(text: str) -> None:
        print(f"[{time.time() - start:6.1f} s] {text}", file=sys.stderr, flush=True)

    suite = importlib.import_module(f"benchmarks.{options.suite}")
    size = options.size or list(suite.SIZES)[1]
    if size not in suite.SIZES:
        sizes = "; ".join(map(": ".join, suite.SIZES.items()))
        print(f"There is no size '{size}'. Sizes: {sizes}.", file=sys.stderr)
        return 2
    setting = Setting(options.suite, size, options.threads, options.repeats, say)
    chosen = {benchmark.name: benchmark for benchmark in suite.suite(size)}
    if options.part:
        name, part = options.part
        print(json.dumps(chosen[name].part(setting, part)))
        return 0
    if unknown := sorted(set(options.only or ()) - chosen.keys()):
        print(f"There is no benchmark {', '.join(unknown)}. Benchmarks: {', '.join(chosen)}.", file=sys.stderr)
        return 2
    rows = []
    for i, (name, benchmark) in enumerate(chosen.items()):
        if options.only is None or name in options.only:
            say(f"benchmark {i + 1} of {len(chosen)}: {name}")
            rows += benchmark.measure(setting)
    where = machine(options.threads)
    print(f"{options.suite}, {size}: {suite.SIZES[size]}")
    print(f"{where['processor']}, {options.threads} threads, torch {where['versions']['torch']}\n")
    print(table(rows))
    if options.json:
        result = {
            "suite": options.suite,
            "size": size,
            "repeats": options.repeats,
            "machine": where,
            "rows": [row.plain() for row in rows],
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
