"""A teacher's outputs on a graph on disk: logits and neighbourhood targets in mapped files, written once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import barrier, is_main_process
from torch import Tensor

from structkd.datasets import DiskGraph
from structkd.datasets.graphs.npy import open_npy, writing_npy
from structkd.distillers import FFG2M
from structkd.engine.registry import check_arguments
from structkd.errors import ConfigError, DataError
from structkd.files import atomic_write_json
from structkd.losses.smoothness_mapped import mapped_neighbor_targets
from structkd.ops.mapped import row_blocks
from structkd.structure import Structure

FORMAT = "structkd-disk-outputs-1"


def disk_outputs(
    folder: Path,
    source: Path,
    disk: DiskGraph,
    logits: Callable[[], Tensor],
    targets: Mapping[str, Any] | None = None,
) -> Structure:
    """The outputs in `folder`, which are computed first where they are missing or come from something else.

    Args:
        folder: one `.npy` a field, and `meta.json`, written last, with what they were computed from: the graph's
            fingerprint and the sha256 of `source`.
        source: the teacher's weights or its file of logits.
        disk: the graph.
        logits: computes them, [N, K].
        targets: `reduction` and `low_tau` of the FFG2M whose low-frequency targets are added; None for none.

    Returns:
        `logits` [N, K], `n_id` [N] (in memory) and the target fields of that FFG2M, mapped. In a distributed run one
        process computes and the others wait.
    """
    origin = {"format": FORMAT, "graph": disk.fingerprint(), "teacher": _sha256(source)}
    options = None if targets is None else dict(targets)
    check_arguments(FFG2M, options or {}, "data.targets")
    if options is not None and not {"reduction", "low_tau"}.issuperset(options):
        raise ConfigError(f"data.targets has {', '.join(sorted(options))}; expected reduction and low_tau.")
    names = () if options is None else FFG2M(high_weight=0.0, **options).prepared_fields
    if is_main_process():
        if _origin(folder) != origin:
            (folder / "meta.json").unlink(missing_ok=True)
            for stale in folder.glob("*.npy"):
                stale.unlink()
            _write_logits(folder / "logits.npy", logits())
            atomic_write_json(folder / "meta.json", origin)
        if names and not all((folder / f"{name}.npy").is_file() for name in names):
            stored = open_npy(folder / "logits.npy", ("float32", "float16"), (disk.num_nodes, None))
            _write_targets(folder, names, stored, disk, options or {})
    barrier()
    fields = {"logits": open_npy(folder / "logits.npy", ("float32", "float16"), (disk.num_nodes, None))}
    shapes: tuple[tuple[int | None, ...], ...] = ((disk.num_nodes, fields["logits"].size(1)), (disk.num_nodes,))
    for name, shape in zip(names, shapes):
        fields[name] = open_npy(folder / f"{name}.npy", ("float32",), shape)
    return Structure(n_id=torch.arange(disk.num_nodes), **fields)


def opened_teacher(path: str | Path, disk: DiskGraph) -> Tensor:
    """A file of logits, mapped and checked: `.npy`, [N, classes], float32 or float16, finite.

    Raises:
        DataError: anything else.
    """
    if Path(path).suffix != ".npy":
        raise DataError(f"{path}: a teacher of a graph on disk is a .npy file of logits [{disk.num_nodes}, classes].")
    logits = open_npy(path, ("float32", "float16"), (disk.num_nodes, disk.num_classes))
    for rows in row_blocks(logits.size(0)):
        if not bool(torch.isfinite(logits[rows]).all()):
            raise DataError(f"{path} holds NaN or infinity in rows {rows.start} to {rows.stop - 1}.")
    return logits


def _write_logits(path: Path, logits: Tensor) -> None:
    with writing_npy(path, str(logits.dtype).removeprefix("torch."), (logits.size(1),)) as file:
        for rows in row_blocks(logits.size(0)):
            file.append(logits[rows])


def _write_targets(
    folder: Path, names: tuple[str, ...], logits: Tensor, disk: DiskGraph, options: Mapping[str, Any]
) -> None:
    reduction, tau = options.get("reduction", "edge"), options.get("low_tau", 1.0)
    rows: tuple[tuple[int, ...], ...] = ((logits.size(1),), ())
    with ExitStack() as stack:
        files = [
            stack.enter_context(writing_npy(folder / f"{name}.npy", "float32", row)) for name, row in zip(names, rows)
        ]
        for block in mapped_neighbor_targets(logits, disk.csr, reduction, tau, disk.scratch, sources=disk.sources):
            for file, part in zip(files, block):
                file.append(part)


def _origin(folder: Path) -> Any:
    try:
        return json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()
