"""Measure what structkd promises, against a named baseline in the same run.

python tools/benchmark.py graphs
python tools/benchmark.py graphs --size products --json products.json
python tools/benchmark.py graphs --only "high-frequency loss" --repeats 9
python tools/benchmark.py graphs --load products.json --markdown README.md --section benchmark
python tools/benchmark.py scale --size products --threads 1 --json scale.json
python tools/benchmark.py kernels --size gpu --json tools/benchmarks/results/kernels_gpu.json

Times are medians; baseline and candidate take turns, so that both see the machine in the same state. Extra memory is
the rise of a process's peak resident memory in its first call, measured in a fresh process for each side.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SUITES = ("graphs", "points", "tokens", "modules", "kernels", "scale")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("--size", help="size of the data (default: the suite's second, after a trial)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of torch (default: all cores)")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each side (default: 5)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run these benchmarks only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything measured to this file")
    parser.add_argument("--load", type=Path, metavar="FILE", help="show what a --json FILE holds; nothing is measured")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table into this file")
    parser.add_argument("--section", metavar="NAME", help="between its two lines <!-- results:NAME -->")
    parser.add_argument("--plan", action="store_true", help="scale only: what papers100M would take; measures nothing")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)  # what in_own_process asks of a fresh process
    options = parser.parse_args(arguments)
    if min(options.threads, options.repeats) < 1:
        parser.error("--threads and --repeats must be at least 1")
    if options.json and not options.json.resolve().parent.is_dir():
        parser.error(f"there is no folder {options.json.parent} to write {options.json.name} to")
    if options.plan and options.suite != "scale":
        parser.error("--plan belongs to the suite scale")
    if (options.markdown is None) != (options.section is None):
        parser.error("--markdown and --section belong together")
    return options


def show(result: dict, options: argparse.Namespace, sizes: dict[str, str]) -> None:
    """Print the table of a result, and write it where `--markdown` says."""
    from benchmarks.harness import Row, table

    where = result["machine"]
    gpu = f"{where['gpu']['name']}, driver {where['gpu']['driver']}; " if where.get("gpu") else ""
    heading = (
        f"{result['suite']}, {result['size']}: {sizes[result['size']]}\n"
        f"{gpu}{where['processor']}, {where['threads']} threads, torch {where['versions']['torch']}"
    )
    text = f"{heading}\n\n{table([Row(**row) for row in result['rows']])}"
    publish(text, options)


def publish(text: str, options: argparse.Namespace) -> None:
    """Print a table, and write it where `--markdown` says."""
    print(text)
    if options.markdown:
        from structkd.files import atomic_write_text
        from structkd.visualization.tables import replace_section

        page = options.markdown.read_text(encoding="utf-8")
        block = f"```text\n{text}\n```"
        atomic_write_text(options.markdown, replace_section(page, options.section, block, str(options.markdown)))


def machine(threads: int) -> dict:
    """Where the figures come from."""
    import torch

    import structkd
    from structkd.backends import devices, version

    packages = ("torch", "torch-geometric", "scipy", "numpy", "triton", "torch-scatter", "pyg-lib")
    return {
        "date": datetime.date.today().isoformat(),
        "gpu": graphics(),
        "device": devices()[0],
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {"structkd": structkd.__version__, **{name: version(name) for name in packages}},
        "blas": "mkl" if torch.backends.mkl.is_available() else "other",
    }


def graphics() -> dict | None:
    """The GPU that is measured, its driver and its CUDA; None where there is none."""
    import torch

    if not torch.cuda.is_available():
        return None
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        driver = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        driver = "unknown"
    return {"name": torch.cuda.get_device_name(0), "driver": driver, "cuda": torch.version.cuda}


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
    from benchmarks.harness import Setting

    start = time.time()

    def say(text: str) -> None:
        print(f"[{time.time() - start:6.1f} s] {text}", file=sys.stderr, flush=True)

    if options.plan:
        from benchmarks.scale_plan import plan_table

        publish(plan_table(), options)
        return 0
    suite = importlib.import_module(f"benchmarks.{options.suite}")
    if options.load:
        show(json.loads(options.load.read_text(encoding="utf-8")), options, suite.SIZES)
        return 0
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
    result = {
        "suite": options.suite,
        "size": size,
        "repeats": options.repeats,
        "machine": machine(options.threads),
        "rows": [row.plain() for row in rows],
    }
    show(result, options, suite.SIZES)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
