"""An experiment: every stage of a config, for every seed, ending in one results file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process

from structkd.engine.config import plain_config, resolve_root
from structkd.engine.data import DATA, DataModule
from structkd.engine.files import atomic_write_json
from structkd.engine.launch import join_processes
from structkd.engine.registry import build
from structkd.engine.results import collect
from structkd.engine.stages import StageRun, Switches

logger = logging.getLogger("structkd")


def build_data(config: Config) -> DataModule:
    """The data module of a config, without a split yet."""
    return build(DATA, resolve_root(config["data"]), "data")


def run_experiment(config: Config, work_dir: Path, seeds: Sequence[int], switches: Switches) -> dict[str, Any]:
    """Run all stages for all seeds and write `work_dir/results.json`; returns the results.

    `results.json` is written after each seed, so that a long run can be looked at before it ends.
    """
    join_processes(switches.launcher)
    work_dir.mkdir(parents=True, exist_ok=True)
    start_log(work_dir / "train.log")
    name = Path(config.filename).stem if config.filename else "experiment"
    if is_main_process():
        # JSON rather than Python: mmengine's own dump sorts the keys, and the order of the stages means something.
        atomic_write_json(work_dir / "config.json", plain_config(config))
    data = build_data(config)
    runs: dict[int, dict[str, Any]] = {}
    results: dict[str, Any] = {}
    for position, seed in enumerate(seeds, 1):
        logger.info("seed %d (%d of %d): %s", seed, position, len(seeds), ", ".join(config.stages))
        data.setup(seed)
        run: dict[str, Any] = {}
        for stage, settings in config.stages.items():
            run[stage] = StageRun(stage, settings, data, seed, work_dir / f"seed_{seed}", config).run(switches)
        runs[seed] = run
        results = collect(config, runs, config.get("title", name), data.protocol, data.primary_metric)
        if is_main_process():
            atomic_write_json(work_dir / "results.json", results)
    return results


def start_log(path: Path) -> None:
    """Send the framework's messages to the terminal and, with times, to a file; only the main process speaks."""
    logger.handlers.clear()
    logger.propagate = False
    logger.setLevel(logging.INFO if is_main_process() else logging.ERROR)
    screen = logging.StreamHandler(sys.stdout)
    screen.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(screen)
    if is_main_process():
        file = logging.FileHandler(path)
        file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger.addHandler(file)
