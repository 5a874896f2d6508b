"""What every reader of a graph shares: simple undirected edges, dense or sparse features, and the checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from structkd.errors import DataError
from structkd.ops.sparse_features import is_sparse

#: Above this many entries (256 MB as float32) features given as a sparse matrix stay sparse unless told otherwise.
DENSE_ENTRIES = 2**26


def undirected(edge_index: Tensor | np.ndarray, num_nodes: int) -> Tensor:
    """Both directions of every distinct edge, loops removed.

    Args:
        edge_index: [2, E] ids in [0, num_nodes), in any direction, duplicates and loops allowed.
        num_nodes: N.

    Returns:
        [2, 2 E'] int64: the E' edges u < v in lexicographic order, then the same edges turned round.
    """
    source, target = torch.as_tensor(edge_index, dtype=torch.long)
    # One int64 key an edge: sorting keys needs a fraction of the memory that sorting pairs does.
    key = torch.minimum(source, target).mul_(num_nodes).add_(torch.maximum(source, target))
    key = key[source != target].unique()
    low = torch.div(key, max(num_nodes, 1), rounding_mode="floor")
    high = key.sub_(low * num_nodes)
    return both_directions(low, high)


def both_directions(low: Tensor, high: Tensor) -> Tensor:
    """[2, 2 E]: the edges low -> high, then high -> low; fills the result in place, without a second copy."""
    count = low.numel()
    edges = low.new_empty(2, 2 * count)
    edges[0, :count], edges[1, :count] = low, high
    edges[0, count:], edges[1, count:] = high, low
    return edges


def sparse_rows(matrix: Any) -> Tensor:
    """A scipy sparse matrix as a torch sparse CSR tensor, float32, columns sorted within a row."""
    matrix = matrix.tocsr()
    matrix.sum_duplicates()
    return torch.sparse_csr_tensor(
        torch.from_numpy(matrix.indptr.astype(np.int64)),
        torch.from_numpy(matrix.indices.astype(np.int64)),
        torch.from_numpy(matrix.data.astype(np.float32)),
        size=matrix.shape,
    )


def features(matrix: Any, sparse: bool | None = None) -> Tensor:
    """Node features as float32.

    Args:
        matrix: [N, F] scipy sparse matrix, array or tensor.
        sparse: True for a torch sparse CSR tensor, False for a dense one. None keeps a scipy matrix of more than
            `DENSE_ENTRIES` entries sparse, makes a smaller one dense, and leaves arrays and tensors as they are.
    """
    if isinstance(matrix, Tensor):
        matrix = matrix.to(torch.float32)
        if matrix.layout == torch.strided:
            return matrix.to_sparse_csr() if sparse else matrix
        return matrix.to_dense() if sparse is False else matrix.to_sparse_csr()
    if isinstance(matrix, np.ndarray):
        return features(torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32)), sparse)
    if sparse is None:
        sparse = matrix.shape[0] * matrix.shape[1] > DENSE_ENTRIES
    return sparse_rows(matrix) if sparse else torch.from_numpy(matrix.toarray().astype(np.float32, copy=False))


def labelled(y: Tensor) -> Tensor:
    """[N] bool: rows that carry a label. `y` is [N] class ids or [N, K] targets; -1 stands for no label."""
    return (y if y.dim() == 1 else y[:, 0]) >= 0


def check_graph(data: Data, source: str) -> Data:
    """Verify a graph before anything is trained on it. Returns it.

    Args:
        data: `x` [N, F] floats (dense or sparse CSR), `edge_index` [2, E], `y` [N] class ids (-1 = unknown) or
            [N, K] targets, and optionally `train_mask`, `val_mask`, `test_mask` [N] bool.
        source: what the graph was read from; opens every message.

    Raises:
        DataError: a field is missing or misshapen, a feature is NaN or infinite, an id is out of range.
    """
    x, edges, y = data.get("x"), data.get("edge_index"), data.get("y")
    for name, value in (("x", x), ("edge_index", edges), ("y", y)):
        if not isinstance(value, Tensor):
            raise DataError(f"{source} holds no tensor '{name}'; a graph needs x, edge_index and y.")
    if x.dim() != 2:
        raise DataError(f"{source}: x has shape {tuple(x.shape)}; expected [nodes, features].")
    nodes = x.size(0)
    values = x.values() if is_sparse(x) else x
    if not bool(torch.isfinite(values).all()):
        where = "" if values.dim() == 1 else f" (first in row {int((~torch.isfinite(x)).any(1).nonzero()[0])})"
        raise DataError(f"{source}: x holds NaN or infinity{where}; every feature must be finite.")
    if edges.dim() != 2 or edges.size(0) != 2 or edges.dtype != torch.long:
        raise DataError(
            f"{source}: edge_index has shape {tuple(edges.shape)} and type {edges.dtype}; expected [2, edges] int64."
        )
    if edges.numel() and (int(edges.min()) < 0 or int(edges.max()) >= nodes):
        raise DataError(
            f"{source}: edges name nodes {int(edges.min())} to {int(edges.max())}, but the {nodes} rows of x "
            f"allow 0 to {nodes - 1}."
        )
    if y.dim() not in (1, 2) or y.size(0) != nodes:
        raise DataError(
            f"{source}: y has shape {tuple(y.shape)}; expected one label for each of the {nodes} rows of x."
        )
    if y.dim() == 1 and y.dtype != torch.long:
        raise DataError(f"{source}: y has type {y.dtype}; expected int64 class ids, -1 for an unknown label.")
    if y.numel() and float(y.min()) < -1:
        raise DataError(f"{source}: the labels go down to {y.min().item()}; class ids start at 0, -1 means unknown.")
    if nodes and not bool(labelled(y).any()):
        raise DataError(f"{source}: no node has a label.")
    for name in ("train_mask", "val_mask", "test_mask"):
        mask = data.get(name)
        if mask is not None and (mask.dtype != torch.bool or mask.shape != (nodes,)):
            raise DataError(
                f"{source}: {name} has shape {tuple(mask.shape)} and type {mask.dtype}; expected [{nodes}] bool."
            )
    return data


def graph_data(
    x: Any, edge_index: Tensor | np.ndarray, y: Any, source: str, sparse: bool | None = None, **masks: Tensor
) -> Data:
    """A checked `Data` of `x`, simple undirected `edge_index` and `y`: see `features`, `check_graph`."""
    y = torch.as_tensor(y)
    data = Data(
        x=features(x, sparse),
        edge_index=torch.as_tensor(edge_index, dtype=torch.long),
        y=y.long() if y.dim() == 1 else y.float(),
        **masks,
    )
    check_graph(data, source)  # before `undirected`, which takes ids for granted
    data.edge_index = undirected(data.edge_index, data.x.size(0))
    return data
