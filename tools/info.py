"""What is installed here, which devices torch sees, and which backend of each op can run.

python tools/info.py
python tools/info.py --json info.json
STRUCTKD_BACKEND="spmm=gather" python tools/info.py      # shows what is forced
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "benchmarks" / "results"
#: Name of the backends that are kernels for GPUs.
KERNELS = "triton"


def collect() -> dict:
    """Everything the table shows, as plain data."""
    import structkd.ops  # noqa: F401  (fills OPS)
    from structkd.backends import ENV, OPS, devices, forced

    ops = {}
    for name, op in sorted(OPS.items()):
        choice = forced(op)
        ops[name] = [
            {
                "backend": backend.name,
                "reference": backend is op.backends[-1],
                "on_request": backend.on_request,
                "forced": choice is not None and backend is op.find(choice),
                "why_not": backend.why_not(),
                "ran_on": ran_on(name, backend.name),
            }
            for backend in op.backends
        ]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages(),
        "devices": devices(),
        "ops": ops,
        "forced_by": ENV,
    }


def ran_on(op: str, backend: str) -> list[str]:
    """GPUs that a backend was measured on, as the results of `tools/benchmark.py kernels` beside this file say."""
    found = set()
    for file in sorted(RESULTS.glob("kernels_*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        gpu = result["machine"].get("gpu")
        rows = [row["detail"] for row in result["rows"]]
        if gpu and any((row.get("op"), row.get("backend")) == (op, backend) for row in rows):
            found.add(f"{gpu['name']} ({result['machine']['date']})")
    return sorted(found)


def packages() -> list[dict]:
    """What pyproject.toml asks for, with the extra it belongs to and the version that is here."""
    from structkd.backends import version

    extras: dict[str, list[str]] = {"structkd": []}
    for requirement in metadata.requires("structkd") or []:
        name = re.match(r"[\w.-]+", requirement).group()
        extra = re.search(r"extra == ['\"]([\w-]+)", requirement)
        extras.setdefault(name, [])
        if extra and name != "structkd":
            extras[name].append(extra.group(1))
    extras["triton"] = []  # comes with CUDA builds of torch
    return [{"package": name, "version": version(name), "extras": sorted(set(of))} for name, of in extras.items()]


def show(info: dict) -> str:
    lines = [f"Python {info['python']} on {info['platform']}", "", "packages"]
    for row in info["packages"]:
        where = f"[{', '.join(row['extras'])}]" if row["extras"] else ""
        lines.append(f"  {row['package']:18}{row['version'] or '-':22}{where}".rstrip())
    lines += ["", "devices", *(f"  {device}" for device in info["devices"]), "", "ops"]
    for name, backends in info["ops"].items():
        for i, row in enumerate(backends):
            state = "cannot run: " + "; ".join(row["why_not"]) if row["why_not"] else "ready"
            state += ", reference" if row["reference"] else ", on request" if row["on_request"] else ""
            if row["backend"] == KERNELS:
                state += "; measured on " + ", ".join(row["ran_on"]) if row["ran_on"] else "; never run on a GPU"
            state += f", forced by {info['forced_by']}" if row["forced"] else ""
            lines.append(f"  {name if i == 0 else '':24}{row['backend']:15}{state}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write it to this file")
    args = parser.parse_args()
    from structkd.errors import StructkdError

    try:
        info = collect()
    except StructkdError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(show(info))
    if args.json:
        args.json.write_text(json.dumps(info, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
