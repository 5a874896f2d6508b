"""An experiment: every stage of a config, for every seed, ending in one results file."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process

from structkd.engine.checks import needs
from structkd.engine.config import plain_config, resolve_root
from structkd.engine.data import DATA, DataModule
from structkd.engine.launch import join_processes, together
from structkd.engine.locks import alone, hold
from structkd.engine.registry import build
from structkd.engine.rehearsal import Rehearsal
from structkd.engine.results import collect
from structkd.engine.stages import StageRun, Switches
from structkd.errors import CheckpointError, ConfigError, located, reason
from structkd.files import atomic_write_json

logger = logging.getLogger("structkd")
#: Characters of the name of a job's folder, before it is cut.
LONGEST = 80


def build_data(config: Config) -> DataModule:
    """The data module of a config, without a split yet."""
    return build(DATA, resolve_root(config["data"]), "data")


def run_experiment(config: Config, work_dir: Path, seeds: Sequence[int], switches: Switches) -> dict[str, Any]:
    """Run all stages for all seeds and write `work_dir/results.json`; returns the results.

    `results.json` is written after each seed, so that a long run can be looked at before it ends.

    Several processes may run different stages in one work dir: each stage has a folder of its own. A run that builds on
    stages of an earlier one (`taken`), or during which another process writes its results, has its log, config and
    results in `work_dir/jobs/<stages>.seed_<seeds>` instead; the stages' own results are where they always are, and a
    run of all stages with `resume` collects them.
    """
    check_seeds(seeds)
    stage_folders = [work_dir / f"seed_{seed}" / stage for seed in seeds for stage in config.stages]
    check_checkpoint(switches.resume_from, stage_folders)
    join_processes(switches.launcher)
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"The work dir {work_dir} cannot be made: {reason(error)}") from error
    with together(), ExitStack() as stack:
        folder = results_folder(config, work_dir, seeds, stack)
        start_log(folder / "train.log")
        return _run_seeds(config, work_dir, folder, seeds, switches)


def results_folder(config: Config, work_dir: Path, seeds: Sequence[int], stack: ExitStack) -> Path:
    """Where this process writes what is about the whole run; nobody else does until `stack` is closed."""
    if not is_main_process():
        return work_dir
    if "taken" not in config and (file := hold(work_dir / "lock")) is not None:
        stack.enter_context(file)
        return work_dir
    name = f"{'+'.join(config.stages)}.seed_{'_'.join(map(str, seeds))}"
    if len(name) > LONGEST:
        name = f"{name[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    folder = work_dir / "jobs" / name
    stack.enter_context(alone(folder / "lock", f"The run of {', '.join(config.stages)}"))
    return folder


def _run_seeds(
    config: Config, work_dir: Path, results_in: Path, seeds: Sequence[int], switches: Switches
) -> dict[str, Any]:
    name = Path(config.filename).stem if config.filename else "experiment"
    if is_main_process():
        # JSON rather than Python: mmengine's own dump sorts the keys, and the order of the stages means something.
        atomic_write_json(results_in / "config.json", plain_config(config))
    data = build_data(config)

    def stages(seed: int, kind: type[StageRun] = StageRun, which: str = "stages") -> dict[str, Any]:
        folder = work_dir / f"seed_{seed}"
        return {name: kind(name, stage, data, seed, folder, config) for name, stage in config.get(which, {}).items()}

    readers = {other: f"stages.{name}.{key}" for name, stage in config.stages.items() for key, other in needs(stage)}

    def require_taken(seed: int) -> None:
        for name, stage in stages(seed, which="taken").items():
            stage.require(switches.amp, readers.get(name, "Another stage's model"))

    for seed in seeds:
        require_taken(seed)

    runs: dict[int, dict[str, Any]] = {}
    results: dict[str, Any] = {}
    for position, seed in enumerate(seeds, 1):
        logger.info("seed %d (%d of %d): %s", seed, position, len(seeds), ", ".join(config.stages))
        with located("data"):
            data.setup(seed)
        if position == 1:
            for rehearsal in stages(seed, Rehearsal).values():
                rehearsal.check(switches)
            if is_main_process() and not switches.resume:
                forget([stage for each in seeds for stage in stages(each).values()])
        runs[seed] = {}
        for name, stage in stages(seed).items():
            require_taken(seed)  # again: a stage that one of them builds on may have been trained anew just now
            runs[seed][name] = stage.run(switches)
        results = collect(config, runs, config.get("title", name), data.protocol, data.primary_metric)
        if is_main_process():
            atomic_write_json(results_in / "results.json", results)
    return results | {"folder": str(results_in)}


def forget(stages: Sequence[StageRun]) -> None:
    """Remove what says how far earlier runs of the stages came; of none of them where another process runs one.

    Raises:
        CheckpointError: another process runs one of them, which it names.
    """
    there = [stage for stage in stages if stage.folder.is_dir()]
    for stage in there:  # one after the other: there may be more of them than a process may hold files open
        with stage.lock():
            pass
    for stage in there:
        with stage.lock():
            stage.forget()


def check_seeds(seeds: Any) -> None:
    """Raise a `ConfigError` unless `seeds` is a list of numbers that every generator takes."""
    listed = isinstance(seeds, (list, tuple)) and len(seeds) > 0
    if not listed or not all(isinstance(seed, int) and 0 <= seed < 2**32 for seed in seeds):
        raise ConfigError(f"seeds are {seeds!r}; expected a list of whole numbers from 0 to 2**32 - 1.")


def check_checkpoint(path: str | None, stage_folders: Sequence[Path]) -> None:
    """Raise a `CheckpointError` for a checkpoint to resume from that no stage of this run would take up."""
    if path is None:
        return
    if not Path(path).is_file():
        raise CheckpointError(f"There is no checkpoint at {path} to resume from.")
    if Path(path).resolve().parent not in [folder.resolve() for folder in stage_folders]:
        raise CheckpointError(
            f"{path} lies in no stage's folder of this run ({stage_folders[0]}, ...), so no stage would take it up."
        )


def start_log(path: Path) -> None:
    """Send the framework's messages to the terminal and, with times, to a file; only the main process speaks."""
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = False
    logger.setLevel(logging.INFO if is_main_process() else logging.ERROR)
    screen = logging.StreamHandler(sys.stdout)
    screen.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(screen)
    if is_main_process():
        file = logging.FileHandler(path)
        file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger.addHandler(file)
