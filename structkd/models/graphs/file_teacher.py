"""A teacher trained elsewhere, read from a file of logits and embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from structkd.errors import DataError, nearest, reason
from structkd.files import load_tensors


class FileTeacher(nn.Module):
    """A teacher whose outputs lie in a file, one row a node of the whole graph.

    Args:
        path: `.npy` (logits), `.npz` or `.pt` (logits, or a dict of arrays). `.pt` files are loaded with
            `weights_only=True` and `.npy`/`.npz` without pickle, so no file can run code.
        keys: field -> key in a file of several arrays; default `{"logits": "logits"}`. Add `{"x": "hidden"}` to
            read embeddings as well.
        num_nodes: rows every array must have, if known.

    Shapes: logits [N, K], further fields [N, C]; kept in the default floating point type, in buffers that stay
    out of the state dict.
    `forward(data)` returns the rows of `data.n_id`, or all rows when the graph has no `n_id` (then it must have N
    nodes). Use `GraphAdapter(inputs=("data",), fields=<keys beside logits>)`.

    Errors: `DataError` naming the file, the key and the shape for a missing or unreadable file, a missing key, an
    array that is not two-dimensional floating point and finite, rows that differ, or a node id beyond the file.
    """

    def __init__(self, path: str | Path, keys: Mapping[str, str] | None = None, num_nodes: int | None = None) -> None:
        super().__init__()
        self.path = Path(path)
        self.keys = dict(keys or {"logits": "logits"})
        arrays = _read(self.path)
        for field, key in self.keys.items():
            if key not in arrays:
                raise DataError(f"{self.path} holds no array '{key}' (wanted as {field}). {nearest(key, arrays)}")
            value = _check(self.path, key, arrays[key])
            num_nodes = value.size(0) if num_nodes is None else num_nodes
            if value.size(0) != num_nodes:
                raise DataError(f"{self.path}: '{key}' has {value.size(0)} rows; expected {num_nodes}, one a node.")
            self.register_buffer(f"field_{field}", value, persistent=False)
        self.num_nodes = int(num_nodes or 0)

    def forward(self, data: Data) -> dict[str, Tensor]:
        n_id = data.get("n_id")
        if n_id is None:
            if data.num_nodes != self.num_nodes:
                raise DataError(
                    f"{self.path} has rows for {self.num_nodes} nodes, but the graph has {data.num_nodes} and no "
                    f"'n_id' to say which rows are its own."
                )
            return {field: getattr(self, f"field_{field}") for field in self.keys}
        if n_id.numel() and (int(n_id.min()) < 0 or int(n_id.max()) >= self.num_nodes):
            raise DataError(
                f"{self.path} has rows for nodes 0 to {self.num_nodes - 1}, but the graph's n_id runs from "
                f"{int(n_id.min())} to {int(n_id.max())}."
            )
        return {field: getattr(self, f"field_{field}")[n_id] for field in self.keys}


def _read(path: Path) -> dict[str, Tensor]:
    """Arrays of a file by key; a bare array is called 'logits'."""
    if not path.is_file():
        raise DataError(f"{path} is not a file; expected the teacher's outputs as .pt, .npy or .npz.")
    if path.suffix not in (".pt", ".npy", ".npz"):
        raise DataError(f"{path} ends in '{path.suffix}'; a teacher's outputs are read from .pt, .npy or .npz.")
    try:
        if path.suffix == ".pt":
            content = load_tensors(path)
        else:
            content = np.load(path, allow_pickle=False)
            content = dict(content) if path.suffix == ".npz" else content
    except Exception as error:
        raise DataError(f"{path} cannot be read as tensors and plain arrays: {reason(error)}") from error
    return dict(content) if isinstance(content, Mapping) else {"logits": content}


def _check(path: Path, key: str, value: object) -> Tensor:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        value = torch.from_numpy(value.astype(value.dtype.newbyteorder("="), copy=False))
    if not isinstance(value, Tensor):
        raise DataError(f"{path}: '{key}' is {type(value).__name__}; expected a numeric array [nodes, features].")
    if value.dim() != 2 or not value.is_floating_point():
        raise DataError(
            f"{path}: '{key}' has shape {tuple(value.shape)} and type {value.dtype}; expected a floating point "
            f"array [nodes, features]."
        )
    if not bool(torch.isfinite(value).all()):
        raise DataError(f"{path}: '{key}' holds NaN or infinity; every value must be finite.")
    return value.to(torch.get_default_dtype())
