"""What a finished (or still running) experiment left in its work directory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from structkd.errors import DataError, nearest

#: Keys without which a results file says nothing.
NEEDED = ("name", "seeds", "stages", "primary_metric")
Line = dict[str, float]


@dataclass(frozen=True)
class Run:
    """One work directory.

    Attributes:
        name: name of the directory, for files and columns (the experiment's own title is `results["name"]`).
        results: content of its `results.json`.
        curves: stage -> seed -> lines of `scalars.jsonl`, one an epoch.
        figures: stage -> pictures that the stage drew, of the first seed that has any.
    """

    name: str
    results: dict[str, Any]
    curves: dict[str, dict[int, list[Line]]] = field(default_factory=dict)
    figures: dict[str, list[Path]] = field(default_factory=dict)


def read_run(work_dir: str | Path) -> Run:
    """Read `work_dir`, or a results file alone (kept without its work directory, it has no curves).

    Raises `DataError` naming the file when the results are missing, damaged or incomplete.
    """
    folder = Path(work_dir)
    if folder.suffix == ".json":
        return Run(folder.stem, read_results(folder))
    results = read_results(folder / "results.json")
    curves: dict[str, dict[int, list[Line]]] = {}
    figures: dict[str, list[Path]] = {}
    for stage in results["stages"]:
        for seed in results["seeds"]:
            place = folder / f"seed_{seed}" / stage
            lines = read_scalars(place / "scalars.jsonl")
            if lines:
                curves.setdefault(stage, {})[seed] = lines
            pictures = sorted((place / "figures").glob("*.png"))
            if pictures:
                figures.setdefault(stage, pictures)
    return Run(folder.resolve().name, results, curves, figures)


def read_runs(work_dirs: Sequence[str | Path]) -> list[Run]:
    """Read several work directories; where some have the same name, a number tells them apart."""
    runs = [read_run(folder) for folder in work_dirs]
    names = [run.name for run in runs]
    return [
        run if names.count(run.name) == 1 else replace(run, name=f"{run.name}_{names[: index + 1].count(run.name)}")
        for index, run in enumerate(runs)
    ]


def only_stages(run: Run, stages: Sequence[str]) -> Run:
    """The same run with some of its stages; raises `DataError` for one it does not have."""
    known = run.results["stages"]
    for stage in stages:
        if stage not in known:
            raise DataError(f"{run.name} has no stage '{stage}'. {nearest(stage, known)}")
    results = dict(run.results)
    results["stages"] = {name: stage for name, stage in known.items() if name in stages}
    results["paired"] = {name: pairs for name, pairs in run.results.get("paired", {}).items() if name in stages}
    return replace(run, results=results)


def by_metric(run: Run, metric: str) -> Run:
    """The same run with another primary metric; raises `DataError` for one that its stages do not have."""
    known = {name for stage in run.results["stages"].values() for name in stage["metrics"]}
    if metric not in known:
        raise DataError(f"{run.name} has no metric '{metric}'. {nearest(metric, sorted(known))}")
    return replace(run, results={**run.results, "primary_metric": metric})


def read_results(path: Path) -> dict[str, Any]:
    """A results file, checked as `read_run` says."""
    if not path.is_file():
        raise DataError(f"There is no {path}: not a work directory, or its first seed is not finished yet.")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error
    missing = [key for key in NEEDED if not isinstance(results, dict) or key not in results]
    if missing:
        raise DataError(f"{path} is no results file: it has no {', '.join(missing)}.")
    return results


def read_scalars(path: Path) -> list[Line]:
    """The lines of a `scalars.jsonl` in order of their epoch; none when the file is not there.

    An epoch written twice counts as written last (a resumed run), an unfinished last line is left out.
    """
    if not path.is_file():
        return []
    by_epoch: dict[float, Line] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
            by_epoch[line["epoch"]] = line
        except (ValueError, KeyError, TypeError):
            continue
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]
