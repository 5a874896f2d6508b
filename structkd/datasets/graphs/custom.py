"""A person's own graph: a PyG `Data` file, an npz file, or tables."""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.storage import GlobalStorage

from structkd.datasets.files import damaged, require_file
from structkd.datasets.graphs.build import graph_data
from structkd.datasets.graphs.files import benchmark_parts, read_npz
from structkd.errors import ConfigError, DataError
from structkd.files import load_tensors

MASKS = ("train_mask", "val_mask", "test_mask")


def custom_graph(
    path: str | Path | None = None,
    *,
    edges: str | Path | None = None,
    features: str | Path | None = None,
    labels: str | Path | None = None,
    root: str | Path | None = None,
    sparse: bool | None = None,
    num_classes: int | None = None,
) -> Data:
    """Read a graph of one's own, check it and make it undirected, without loops and duplicates.

    Args:
        path: one of
            a `.pt` file with a PyG `Data` (or a plain dict) of `x`, `edge_index`, `y` and optionally `train_mask`,
            `val_mask`, `test_mask`; loaded without running any code in it;
            an `.npz` file with arrays of these names, or with `adj_*`, `attr_*` (CSR parts) and `labels`;
            a folder with `edges.csv`, `features.csv` or `features.npy`, and `labels.csv`.
        edges, features, labels: instead of `path`, the three tables. Node ids are row numbers from 0.
            edges: `.csv` or `.npy`, two integer columns, source and target;
            features: `.csv` or `.npy`, one row of numbers a node;
            labels: `.csv` or `.npy`, one class id a node, -1 where it is unknown.
            A CSV file may have one header line; further lines hold numbers only.
        root: folder that relative paths start from; default the working directory.
        sparse: True or False for sparse CSR or dense features.
        num_classes: number of classes, when labels must be checked against it.

    Returns:
        `Data` with `x`, `edge_index`, `y` and the masks that were there. Edge weights and attributes are not read.

    Raises:
        DataError: a file is missing, cut short or of another format, a value is NaN or out of range, rows disagree.
    """
    base = Path(root) if root is not None else Path()
    tables = {"edges": edges, "features": features, "labels": labels}
    if path is not None:
        if any(table is not None for table in tables.values()):
            raise ConfigError("custom_graph takes either a path or the tables edges, features and labels, not both.")
        fields, source = _read(base / path)
    else:
        missing = [name for name, table in tables.items() if table is None]
        if missing:
            raise ConfigError(f"custom_graph needs a path, or all three tables; missing: {', '.join(missing)}.")
        fields, source = _read_tables({name: base / str(table) for name, table in tables.items()})
    for name in ("x", "edge_index", "y"):
        if fields.get(name) is None:
            raise DataError(f"{source} holds no '{name}'; it has {', '.join(sorted(fields)) or 'nothing'}.")
    masks = {name: _tensor(fields[name], name, source) for name in MASKS if fields.get(name) is not None}
    y = _labels(_tensor(fields["y"], "y", source), source, num_classes)
    x = fields["x"] if hasattr(fields["x"], "tocsr") else _tensor(fields["x"], "x", source)
    return graph_data(x, _ids(_tensor(fields["edge_index"], "edge_index", source), source), y, source, sparse, **masks)


def _read(path: Path) -> tuple[dict[str, Any], str]:
    if path.is_dir():
        table = path / "features.npy"
        features = table if table.is_file() else path / "features.csv"
        return _read_tables({"edges": path / "edges.csv", "features": features, "labels": path / "labels.csv"})
    require_file(
        path, "Give the path of a .pt or .npz file, or of a folder with edges.csv, features.csv and labels.csv."
    )
    if path.suffix == ".pt":
        return _read_pt(path), str(path)
    if path.suffix == ".npz":
        return _read_npz(path), str(path)
    raise DataError(f"{path} is of no known format; expected a .pt file, an .npz file or a folder of tables.")


def _read_pt(path: Path) -> dict[str, Any]:
    try:
        # Anything but tensors, containers and these classes of PyG is refused instead of executed.
        with torch.serialization.safe_globals([Data, DataEdgeAttr, DataTensorAttr, GlobalStorage]):
            data = load_tensors(path)
    except pickle.UnpicklingError as error:
        found = re.search(r"Unsupported \w+:? .*?(?= was |\.|$)", str(error))
        reason = ValueError(found.group() if found else "no pickled tensors")
        hint = "It must hold a PyG Data object or a dict of tensors and nothing else: torch.save(data, path)."
        raise damaged(path, reason, hint) from error
    except (RuntimeError, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise damaged(path, error) from error
    if isinstance(data, (list, tuple)) and len(data) > 0 and isinstance(data[0], Data):
        data = data[0]  # what InMemoryDataset.save used to write
    if isinstance(data, Data):
        return data.to_dict()
    if isinstance(data, dict):
        return data
    raise DataError(f"{path} holds a {type(data).__name__}; expected a PyG Data object or a dict of tensors.")


def _read_npz(path: Path) -> dict[str, Any]:
    arrays = read_npz(path, "")
    if "adj_data" not in arrays:
        return arrays
    return dict(zip(("edge_index", "x", "y"), benchmark_parts(arrays, path), strict=True))


def _read_tables(paths: dict[str, Path]) -> tuple[dict[str, Any], str]:
    edges, x, y = (_read_table(paths[name]) for name in ("edges", "features", "labels"))
    if edges.shape[1] != 2 and edges.size:
        raise DataError(f"{paths['edges']} has {edges.shape[1]} columns; expected two, source and target.")
    if y.shape[1] != 1:
        raise DataError(f"{paths['labels']} has {y.shape[1]} columns; expected one, the class id.")
    if len(x) != len(y):
        raise DataError(
            f"{paths['features']} has {len(x)} rows, but {paths['labels']} has {len(y)}; expected one a node."
        )
    source = f"{paths['edges'].parent} ({', '.join(path.name for path in paths.values())})"
    return {"x": x, "edge_index": edges.reshape(-1, 2).T, "y": y[:, 0]}, source


def _read_table(path: Path) -> np.ndarray:
    """A two-dimensional array of numbers."""
    require_file(path, "A graph of tables needs edges.csv, features.csv (or features.npy) and labels.csv.")
    try:
        if path.suffix == ".npy":
            table = np.load(path, allow_pickle=False)
            return table.reshape(len(table), -1)
        with path.open() as file:
            first = file.readline()
        header = 0 if _is_numbers(first) else 1
        with path.open() as file:
            if header:
                file.readline()
            lines = [line for line in file if line.strip()]
        return np.loadtxt(lines, delimiter=",", ndmin=2) if lines else np.empty((0, 0))
    except (ValueError, OSError, EOFError, UnicodeDecodeError) as error:
        raise damaged(path, error) from error


def _is_numbers(line: str) -> bool:
    try:
        [float(entry) for entry in line.strip().split(",")]
    except ValueError:
        return False
    return True


def _tensor(value: Any, name: str, source: str) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{source}: {name} is no array of numbers ({error}).") from error


def _ids(edges: Tensor, source: str) -> Tensor:
    if edges.is_floating_point() and not bool((edges == edges.round()).all()):
        raise DataError(f"{source}: the edges name nodes by numbers that are not whole; expected row numbers from 0.")
    return edges.long()


def _labels(y: Tensor, source: str, num_classes: int | None) -> Tensor:
    """Class ids as int64 [N]; targets [N, K] stay as they are."""
    if y.dim() == 2 and y.size(1) == 1:
        y = y[:, 0]
    if y.dim() != 1:
        return y
    if y.is_floating_point() and not bool((y == y.round()).all()):
        raise DataError(f"{source}: the labels are not all whole numbers; expected class ids from 0, or -1.")
    y = y.long()
    if num_classes is not None and y.numel() and int(y.max()) >= num_classes:
        raise DataError(
            f"{source}: the labels go up to {int(y.max())}; with {num_classes} classes, at most {num_classes - 1}."
        )
    return y
