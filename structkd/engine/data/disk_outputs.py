"""A teacher's outputs on a graph on disk: logits and neighbourhood targets, computed and stored block by block."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import barrier, is_main_process
from torch import Tensor

from structkd.datasets import DiskGraph
from structkd.datasets.graphs.npy import open_npy
from structkd.distillers import FFG2M
from structkd.engine.cache import TeacherCache, model_fingerprint
from structkd.engine.registry import check_arguments
from structkd.errors import ConfigError, DataError
from structkd.losses.smoothness_mapped import mapped_neighbor_targets
from structkd.ops.mapped import row_blocks
from structkd.structure import Structure


def disk_outputs(
    folder: Path,
    source: Path,
    disk: DiskGraph,
    logits: Callable[[], Tensor],
    targets: Mapping[str, Any] | None = None,
) -> Structure:
    """The outputs in `folder`, a `TeacherCache`; computed first where they are missing, damaged or of something else.

    Args:
        folder: of the cache.
        source: the teacher's weights or its file of logits, whose bytes say which teacher it is.
        disk: the graph.
        logits: computes them, [N, K].
        targets: `reduction` and `low_tau` of the FFG2M whose low-frequency targets are added; None for none.

    Returns:
        `logits` [N, K] and the target fields of that FFG2M, mapped, and `n_id` [N] (in memory). In a distributed run
        one process computes and the others wait.
    """
    options = None if targets is None else dict(targets)
    check_arguments(FFG2M, options or {}, "data.targets")
    if options is not None and not {"reduction", "low_tau"}.issuperset(options):
        raise ConfigError(f"data.targets has {', '.join(sorted(options))}; expected reduction and low_tau.")
    cache, made_by = TeacherCache(folder), model_fingerprint({}, _sha256(source), options)
    if is_main_process():
        cache.write(partial(_parts, logits, disk, options), disk, made_by)
    barrier()
    structure = cache.load(disk, made_by)
    structure.n_id = torch.arange(disk.num_nodes)
    return structure


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


def _parts(
    logits: Callable[[], Tensor], disk: DiskGraph, options: Mapping[str, Any] | None, done: int
) -> Iterator[Structure]:
    """Logits, and targets where there are `options` for them, of consecutive nodes, without the first `done` parts."""
    z = logits()
    if options is None:
        for rows in islice(row_blocks(z.size(0)), done, None):
            yield Structure(logits=z[rows])
        return
    names = FFG2M(high_weight=0.0, **options).prepared_fields
    reduction, tau = options.get("reduction", "edge"), options.get("low_tau", 1.0)
    blocks = mapped_neighbor_targets(z, disk.csr, reduction, tau, disk.scratch, sources=disk.sources, done=done)
    for (start, stop), block in zip(islice(disk.csr.blocks(), done, None), blocks, strict=True):
        yield Structure(logits=z[start:stop], **dict(zip(names, block)))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()
