"""Results of several seeds: mean, spread, paired differences, and exactly what was run."""

from __future__ import annotations

import datetime
import platform
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from structkd import __version__
from structkd.backends import version
from structkd.engine.config import plain_config


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Values with their mean and population standard deviation, the spread that the graph papers print."""
    return {"values": list(values), "mean": statistics.fmean(values), "std": statistics.pstdev(values)}


def collect(
    config: Mapping[str, Any], runs: Mapping[int, Mapping[str, dict[str, Any]]], name: str, protocol: str, primary: str
) -> dict[str, Any]:
    """One results document from `runs[seed][stage]`, the stages' results.

    Paired differences are taken seed by seed: between a distilled stage and its baseline (`baseline`, or the
    plain stage) and between it and its first teacher stage.
    """
    seeds = sorted(runs)
    stages: dict[str, Any] = {}
    for stage, settings in config["stages"].items():
        results = [runs[seed][stage] for seed in seeds]
        names = sorted(set.intersection(*(set(result["metrics"]) for result in results)))
        teachers = [source["stage"] for source in settings.get("teachers", {}).values() if "stage" in source]
        stages[stage] = {
            "title": settings.get("title", stage),
            "role": settings.get("role", "distilled" if settings.get("distillers") else "plain"),
            "model": settings["model"]["type"],
            "method": settings.get("method"),
            "teacher": teachers[0] if teachers else None,
            "metrics": {metric: summary([r["metrics"][metric] for r in results]) for metric in names},
            "parameters": results[0]["parameters"],
            "macs": results[0].get("macs"),
            "latency_ms": results[0].get("latency_ms", {}),
            "epochs": [r["epochs"] for r in results],
            "seconds": [r["seconds"] for r in results],
            "selected": [r["selected"] for r in results],
        }
    plain = next((name for name, stage in stages.items() if stage["role"] == "plain"), None)
    paired: dict[str, Any] = {}
    for stage, entry in stages.items():
        if entry["role"] != "distilled":
            continue
        baseline = config["stages"][stage].get("baseline", plain)
        against = {"plain": baseline, "teacher": entry["teacher"]}
        paired[stage] = {
            role: {
                metric: summary([a - b for a, b in zip(values["values"], stages[other]["metrics"][metric]["values"])])
                for metric, values in entry["metrics"].items()
                if not metric.startswith("detail/")  # hundreds, of which nobody asks for differences
                if metric in stages[other]["metrics"]
            }
            for role, other in against.items()
            if other in stages
        }
    metrics = {result["selected"]["metric"] for run in runs.values() for result in run.values()} - {None}
    chosen = f"epoch with the best {', '.join(sorted(metrics))}" if metrics else "the last epoch"
    return {
        "name": name,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "config": plain_config(config),
        "versions": {
            "structkd": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "torch_geometric", "numpy", "scipy", "mmengine")},
        },
        "device": torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"CPU, {torch.get_num_threads()} threads",
        "seeds": seeds,
        "protocol": protocol,
        "selection": f"{chosen}; test data play no part in it",
        "primary_metric": primary,
        "stages": stages,
        "paired": paired,
    }
