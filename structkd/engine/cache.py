"""Teacher cache: a frozen teacher's outputs, computed once, memory-mapped, with a record of what they came from."""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from structkd.datasets import DiskGraph
from structkd.engine.cache_tables import SHARD_BYTES, StaleCacheError, TableWriter, open_table, table_record
from structkd.engine.locks import in_turn
from structkd.errors import CheckpointError, DataError, reason
from structkd.files import atomic_write_json
from structkd.structure import Structure

logger = logging.getLogger("structkd")
FORMAT = "structkd-cache-2"
#: Fields that belong to the data rather than to the teacher; they are fingerprinted, not stored.
DATA_FIELDS = frozenset({"edge_index", "edge_weight", "edge_scale", "mask", "batch", "replay", "losses", "input"})


def fingerprint(tensor: Tensor) -> str:
    """sha256 over a tensor's shape and values."""
    array = np.ascontiguousarray(tensor.detach().cpu().numpy())
    return hashlib.sha256(repr((array.shape, str(array.dtype))).encode() + array.tobytes()).hexdigest()


def edges_fingerprint(edge_index: Tensor, n_id: Tensor) -> str:
    """A 64-bit fingerprint of the multiset of edges in global ids; their order does not matter."""
    source, target = n_id.cpu()[edge_index.cpu()].numpy().astype(np.uint64)
    mixed = source * np.uint64(0x9E3779B97F4A7C15) + target
    with np.errstate(over="ignore"):
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # the finaliser of splitmix64
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        total = (mixed ^ (mixed >> np.uint64(31))).sum(dtype=np.uint64)
    return f"{int(total):016x}"


def model_fingerprint(state: Mapping[str, Any], *settings: Any) -> str:
    """blake2b over a state dict and over whatever else decides the outputs, as plain data."""
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    for name, value in state.items():
        digest.update(f"{name} {getattr(value, 'dtype', '')} {getattr(value, 'shape', value)}".encode())
        if isinstance(value, Tensor):
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class TeacherCache:
    """A folder with one `.npy` table a field and `meta.json`.

    `meta.json` records the ids and the edges that the outputs were computed from. `load` compares them with
    the graph the student may see, so leakage through a teacher artefact is an error and not a hope. It also holds a
    checksum for every shard of rows, is written last and is removed first: what has one is whole, and bytes that
    have changed since are found when they are opened.

    While the outputs are computed, `progress.json` stands for it; a later process goes on behind the last shard that
    is whole. A second process that computes the same outputs at the same time waits, and takes those of the first.

    Args:
        folder: made when it is written to.
        shard_bytes: after which a shard ends, and after which it is noted what a later process need not do again.
    """

    def __init__(self, folder: str | Path, shard_bytes: int = SHARD_BYTES) -> None:
        self.folder, self.shard_bytes = Path(folder), shard_bytes
        self._meta, self._progress = self.folder / "meta.json", self.folder / "progress.json"

    @property
    def exists(self) -> bool:
        """Whether a complete cache is there (its meta file is written last)."""
        return self._meta.is_file()

    def save(self, structure: Structure, graph: Any) -> None:
        """Store the tensors of `structure`, which was computed on `graph` (`edge_index`, `n_id` of all nodes)."""
        self._meta.unlink(missing_ok=True)
        self.write(lambda _: [structure], graph)

    def write(self, parts: Callable[[int], Iterable[Structure]], graph: Any, made_by: str = "") -> None:
        """Store outputs while they are computed.

        Args:
            parts: called with a number n, gives all parts of the outputs but the first n, in an order that is always
                the same. Fields with a row an element are put one below the other; others are those of the first part.
            graph: as for `save`, or a `DiskGraph`.
            made_by: fingerprint of what computes them. What an interrupted process left behind is only taken up, and
                what another one has finished in the meantime only kept, where it was made by the same.

        Raises:
            WriteError: the disk is full; what is there so far is taken up next time.
            DataError: parts whose rows differ.
        """
        record = {"format": FORMAT, "made_by": made_by, "computed_from": computed_from(graph)}
        with in_turn(self.folder / "lock", f"The cache in {self.folder}"), ExitStack() as stack:
            if made_by and self._is_whole(record):
                return
            self._meta.unlink(missing_ok=True)
            done, tables = self._taken_up(record) if made_by else (0, {})
            if not done:
                self._progress.unlink(missing_ok=True)
            for table in tables.values():
                stack.callback(table.close)
            unsaved = 0
            for structure in parts(done):
                for name, kind, array in _arrays(structure, {name: table.kind for name, table in tables.items()}):
                    if name not in tables:
                        tables[name] = self._table(name, table_record(array, kind))
                        stack.callback(tables[name].close)
                    tables[name].append(array)
                    unsaved += array.nbytes
                done += 1
                if unsaved >= self.shard_bytes:
                    self._note(self._progress, {**record, "parts": done}, tables)
                    unsaved = 0
            if not tables:
                raise DataError(f"There is nothing to compute the outputs in {self.folder} from.")
            if done > 1:  # what the edges of the first part carry says nothing about the whole
                tables = {name: table for name, table in tables.items() if not name.startswith("edge_")}
            self._note(self._meta, record, tables)
            self._progress.unlink(missing_ok=True)

    def load(self, graph: Any, made_by: str = "") -> Structure:
        """The stored structure, with the edges of `graph` where these are in memory.

        Raises:
            CheckpointError: the outputs were computed from other nodes or edges than `graph`.
            StaleCacheError: the cache is missing, damaged, of an older format or made by something else than `made_by`.
        """
        if not self.exists:
            raise StaleCacheError(f"There is no complete teacher cache in {self.folder} (no meta.json).")
        meta = _read(self._meta)
        here, origin = computed_from(graph), meta["computed_from"]
        if origin != here:
            raise CheckpointError(
                f"The teacher outputs in {self.folder} were computed from {origin['num_nodes']} nodes and "
                f"{origin['num_edges']} edges that are not the {here['num_nodes']} nodes and {here['num_edges']} edges "
                "this student may see. Using them would leak held-out data; compute them again."
            )
        if made_by and meta["made_by"] != made_by:
            raise StaleCacheError(f"The outputs in {self.folder} are those of another model than the one beside them.")
        structure = Structure(edge_index=None if isinstance(graph, DiskGraph) else graph.edge_index)
        for name, array in self._opened(meta):
            structure[name] = torch.from_numpy(array)
        return structure

    def _opened(self, meta: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
        for name, field in meta["fields"].items():
            yield name, open_table(self.folder / f"{name}.npy", field)

    def _is_whole(self, record: Mapping[str, Any]) -> bool:
        """Whether a complete cache of this record is there, with every byte as it was written."""
        try:
            meta = _read(self._meta) if self.exists else {}
            return all(meta.get(key) == value for key, value in record.items()) and bool(list(self._opened(meta)))
        except StaleCacheError:
            return False

    def _taken_up(self, record: Mapping[str, Any]) -> tuple[int, dict[str, TableWriter]]:
        """How many parts an interrupted process finished, and its tables; none where they cannot be gone on with."""
        try:
            left = _read(self._progress)
            if any(left.get(key) != value for key, value in record.items()):
                return 0, {}
            for _ in self._opened(left):
                pass
        except StaleCacheError:
            return 0, {}
        logger.info("%s: going on after %d parts that were stored before", self.folder, left["parts"])
        return left["parts"], {name: self._table(name, field) for name, field in left["fields"].items()}

    def _table(self, name: str, field: Mapping[str, Any]) -> TableWriter:
        return TableWriter(self.folder / f"{name}.npy", field, self.shard_bytes)

    def _note(self, path: Path, record: Mapping[str, Any], tables: Mapping[str, TableWriter]) -> None:
        for table in tables.values():
            table.save()
        content = {**record, "fields": {name: table.record for name, table in tables.items()}}
        atomic_write_json(path, {**content, "checksum": _checksum(content)})


def computed_from(graph: Any) -> dict[str, Any]:
    """The record of the nodes and edges of a graph, in memory or on disk."""
    if isinstance(graph, DiskGraph):
        return {"num_nodes": graph.num_nodes, "num_edges": graph.csr.num_edges, "graph": graph.fingerprint()}
    return {
        "num_nodes": int(graph.n_id.numel()),
        "nodes": fingerprint(graph.n_id.sort().values),
        "num_edges": int(graph.edge_index.size(1)),
        "edges": edges_fingerprint(graph.edge_index, graph.n_id),
    }


def _arrays(structure: Structure, kinds: Mapping[str, str]) -> Iterator[tuple[str, str, np.ndarray]]:
    """The fields to store of a part: name, kind of table, array. `kinds` are those that the first part decided."""
    for name, value in structure.detach().to_dict().items():
        if name in DATA_FIELDS or not isinstance(value, Tensor):
            continue
        first = "scalar" if value.dim() == 0 else "rows" if structure.is_node_field(name) else "whole"
        if not kinds or kinds.get(name) == "rows":
            yield name, kinds.get(name, first), value.cpu().numpy()
    if missing := [name for name, kind in kinds.items() if kind == "rows" and structure.get(name) is None]:
        raise DataError(f"A later part of the outputs lacks {', '.join(sorted(missing))}.")


def _checksum(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def _read(path: Path) -> dict[str, Any]:
    """A record of ours; `StaleCacheError` for one that is damaged or of another format."""
    try:
        content = json.loads(path.read_bytes())
        checksum = content.pop("checksum", None)
        if content.get("format") == FORMAT and checksum != _checksum(content):
            raise ValueError("its checksum is wrong")
    except (OSError, ValueError, AttributeError) as error:
        raise StaleCacheError(f"{path} is damaged: {reason(error)}.") from error
    if content.get("format") != FORMAT:
        raise StaleCacheError(f"{path} is of the format {content.get('format')!r}; this version reads {FORMAT}.")
    return content
