"""Open Graph Benchmark node graphs, from the files that the `ogb` package downloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data

from structkd.backends import version
from structkd.datasets.files import damaged, require_file
from structkd.datasets.graphs.build import graph_data
from structkd.errors import ConfigError, nearest

#: name -> the official split's folder
SPLITS = {"ogbn-arxiv": "time", "ogbn-products": "sales_ranking"}
PARTS = ("train", "valid", "test")


def ogb_graph(root: str | Path, name: str = "ogbn-arxiv") -> Data:
    """ogbn-arxiv (169343 nodes) or ogbn-products (2449029 nodes) with the official split (Hu et al., NeurIPS 2020).

    Args:
        root: folder that holds `ogbn_arxiv` or `ogbn_products` with `raw/*.csv.gz` and `split/`, as the `ogb` package
            lays them out.
        name: "ogbn-arxiv" or "ogbn-products" (its features take some minutes to parse).

    Returns:
        `Data` with `x`, `edge_index` (citations made undirected, loops removed), `y` [N] and the official
        `train_mask`, `val_mask`, `test_mask`; draw the split with `make_split("ogb", data)`.

    Raises:
        ConfigError: pandas, which comes with `ogb`, is not installed. DataError: a file is missing or damaged.

    Differences: the raw files are read, not the cache the package puts beside them, which `torch.load` refuses since
    torch 2.6; a read-only folder works.
    """
    if name not in SPLITS:
        raise ConfigError(f"ogb_graph(name={name!r}): there is no such graph. {nearest(name, SPLITS)}")
    if version("pandas") is None:
        raise ConfigError(f"ogb_graph needs pandas to read {name}; it comes with: pip install ogb.")
    folder = Path(root) / name.replace("-", "_")
    code = f"from ogb.nodeproppred import NodePropPredDataset; NodePropPredDataset('{name}', '{root}')"
    how = f'Download it with: pip install ogb; python -c "{code}".'
    edges, y = (_read(folder / "raw" / f"{part}.csv.gz", "int64", how) for part in ("edge", "node-label"))
    x = _read(folder / "raw" / "node-feat.csv.gz", "float32", how)
    ids = [_read(folder / "split" / SPLITS[name] / f"{part}.csv.gz", "int64", how)[:, 0] for part in PARTS]
    masks: dict[str, Any] = {}
    for mask, rows in zip(("train_mask", "val_mask", "test_mask"), ids, strict=True):
        masks[mask] = torch.zeros(len(x), dtype=torch.bool)
        masks[mask][torch.from_numpy(rows)] = True
    return graph_data(x, edges.T, y[:, 0], str(folder), **masks)


def _read(path: Path, dtype: str, how: str) -> np.ndarray:
    import pandas as pd

    require_file(path, how)
    try:
        return pd.read_csv(path, header=None, dtype=dtype).to_numpy(copy=True)
    except (OSError, EOFError, ValueError) as error:
        raise damaged(path, error, how) from error
