"""What a finished stage keeps of its model's outputs for the stages that follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from structkd.engine.cache import TeacherCache
from structkd.engine.data import DataModule
from structkd.engine.task import DistillTask
from structkd.evaluation.codes import analyze_codes
from structkd.files import atomic_write_json
from structkd.structure import Structure
from structkd.visualization import plot_codes


@torch.no_grad()
def store_outputs(task: DistillTask, data: DataModule, folder: Path) -> None:
    """Run the selected model over everything observed and store what its adapter reads in `folder/outputs`."""
    task.eval()
    structure = _concatenate([task.adapter.compact(task.val_structure(batch)) for batch in data.observed_batches()])
    TeacherCache(folder / "outputs").save(structure, data.observed_graph)
    if {"codes", "codebook"} <= structure.provides:
        _analyze_codes(structure, next(iter(data.observed_batches())).y, folder)


def _analyze_codes(structure: Structure, labels: Any, folder: Path) -> None:
    """How evenly the codes are used, and what they say about the labels that training saw."""
    size = structure.codebook.size(0)
    atomic_write_json(folder / "codes.json", analyze_codes(structure.codes, size, labels).to_dict())
    (folder / "figures").mkdir(exist_ok=True)
    plot_codes(structure.codes, size, folder / "figures" / "codes.png", labels)


def _concatenate(parts: list[Structure]) -> Structure:
    if len(parts) == 1:
        return parts[0]
    whole = Structure()
    for name, value in parts[0].to_dict().items():
        if parts[0].is_node_field(name):
            whole[name] = torch.cat([part[name] for part in parts])
        elif isinstance(value, torch.Tensor) and not name.startswith("edge_"):
            whole[name] = value
    return whole
