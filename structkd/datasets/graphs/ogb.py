"""Open Graph Benchmark node graphs; needs the `ogb` package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import Data

from structkd.backends import version
from structkd.datasets.graphs.build import check_graph, undirected
from structkd.errors import ConfigError, DataError, nearest

NAMES = ("ogbn-arxiv", "ogbn-products")


def ogb_graph(root: str | Path, name: str = "ogbn-arxiv") -> Data:
    """ogbn-arxiv (169343 nodes) or ogbn-products (2449029 nodes) with the official split (Hu et al., NeurIPS 2020).

    Args:
        root: folder that holds `ogbn_arxiv` or `ogbn_products` as the `ogb` package leaves them. The package writes
            its cache beside the raw files, so the folder must be writable the first time.
        name: "ogbn-arxiv" or "ogbn-products".

    Returns:
        `Data` with `x`, `edge_index` (citations made undirected, loops removed), `y` [N] and the official
        `train_mask`, `val_mask`, `test_mask`; draw the split with `make_split("ogb", data)`.

    Raises:
        ConfigError: `ogb` is not installed. DataError: the data set is not there; it is never downloaded silently.
    """
    if name not in NAMES:
        raise ConfigError(f"ogb_graph(name={name!r}): there is no such graph. {nearest(name, NAMES)}")
    if version("ogb") is None:
        raise ConfigError(f"ogb_graph needs the package 'ogb' for {name}: pip install structkd[ogb].")
    folder = Path(root) / name.replace("-", "_")
    if not (folder / "raw").is_dir():
        raise DataError(
            f"There is no folder {folder / 'raw'}. Download it with: python -c "
            f"\"from ogb.nodeproppred import NodePropPredDataset; NodePropPredDataset('{name}', '{root}')\"."
        )
    from ogb.nodeproppred import NodePropPredDataset

    # The package reads its own cache of numpy arrays with torch.load, which allows only tensors unless told otherwise.
    with torch.serialization.safe_globals(_numpy_globals()):
        dataset = NodePropPredDataset(name, str(root))
        split = dataset.get_idx_split()
    graph, y = dataset[0]
    nodes = int(graph["num_nodes"])
    data = Data(
        x=torch.from_numpy(np.asarray(graph["node_feat"], dtype=np.float32)),
        edge_index=torch.from_numpy(np.asarray(graph["edge_index"], dtype=np.int64)),
        y=torch.from_numpy(np.asarray(y, dtype=np.int64).reshape(-1)),
    )
    for mask, part in (("train_mask", "train"), ("val_mask", "valid"), ("test_mask", "test")):
        data[mask] = torch.zeros(nodes, dtype=torch.bool)
        data[mask][torch.as_tensor(split[part])] = True
    check_graph(data, str(folder))
    data.edge_index = undirected(data.edge_index, nodes)
    return data


def _numpy_globals() -> list:
    """What a pickled numpy array of numbers is made of."""
    reconstruct = np.ndarray.__reduce__(np.zeros(1))[0]
    return [reconstruct, np.ndarray, np.dtype, *(type(np.dtype(kind)) for kind in ("int64", "float32", "float64"))]
