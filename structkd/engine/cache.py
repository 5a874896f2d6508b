"""Teacher cache: a frozen teacher's outputs, computed once, memory-mapped, with a record of what they came from."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from structkd.errors import CheckpointError, reason
from structkd.files import atomic_write_bytes, atomic_write_json
from structkd.structure import Structure

FORMAT = "structkd-cache-1"
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


class TeacherCache:
    """A folder with one `.npy` a field and `meta.json`.

    `meta.json` records the ids and the edges that the outputs were computed from. `load` compares them with
    the graph the student may see, so leakage through a teacher artefact is an error and not a hope.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @property
    def exists(self) -> bool:
        """Whether a complete cache is there (its meta file is written last)."""
        return (self.folder / "meta.json").is_file()

    def save(self, structure: Structure, graph: Any) -> None:
        """Store the tensors of `structure`, which was computed on `graph` (`edge_index`, `n_id` of all nodes)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fields: dict[str, dict[str, Any]] = {}
        for name, value in structure.detach().to_dict().items():
            if name in DATA_FIELDS or not isinstance(value, Tensor):
                continue
            array = np.ascontiguousarray(value.cpu().numpy())
            buffer = _npy(array)
            atomic_write_bytes(self.folder / f"{name}.npy", buffer)
            fields[name] = {"shape": list(array.shape), "dtype": str(array.dtype), "bytes": len(buffer)}
        atomic_write_json(
            self.folder / "meta.json",
            {"format": FORMAT, "fields": fields, "computed_from": computed_from(graph)},
        )

    def load(self, graph: Any) -> Structure:
        """The stored structure, with the edges of `graph`.

        Raises:
            CheckpointError: the cache is missing, damaged, or was computed from other nodes or edges than `graph`.
        """
        meta_path = self.folder / "meta.json"
        if not meta_path.is_file():
            raise CheckpointError(f"There is no complete teacher cache in {self.folder} (no meta.json).")
        try:
            meta = json.loads(meta_path.read_text())
            fields, origin = meta["fields"], meta["computed_from"]
        except (ValueError, KeyError) as error:
            raise CheckpointError(f"{meta_path} is damaged: {reason(error)}") from error
        here = computed_from(graph)
        if origin != here:
            raise CheckpointError(
                f"The teacher outputs in {self.folder} were computed from {origin['num_nodes']} nodes and "
                f"{origin['num_edges']} edges that are not the {here['num_nodes']} nodes and {here['num_edges']} edges "
                "this student may see. Using them would leak held-out data; compute them again."
            )
        structure = Structure(edge_index=graph.edge_index)
        for name, expected in fields.items():
            path = self.folder / f"{name}.npy"
            try:
                array = np.load(path, mmap_mode="c", allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise CheckpointError(f"{path} of the teacher cache is missing or damaged: {reason(error)}") from error
            if list(array.shape) != expected["shape"] or str(array.dtype) != expected["dtype"]:
                raise CheckpointError(
                    f"{path} holds {array.dtype} {list(array.shape)}; "
                    f"its record says {expected['dtype']} {expected['shape']}."
                )
            structure[name] = torch.from_numpy(array)
        return structure


def computed_from(graph: Any) -> dict[str, Any]:
    """The record of the nodes and edges of a graph."""
    return {
        "num_nodes": int(graph.n_id.numel()),
        "nodes": fingerprint(graph.n_id.sort().values),
        "num_edges": int(graph.edge_index.size(1)),
        "edges": edges_fingerprint(graph.edge_index, graph.n_id),
    }


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
