"""Cora, CiteSeer and PubMed with the public split."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse as sp
from torch_geometric.data import Data

from structkd.datasets.files import damaged, require_file
from structkd.datasets.graphs.build import graph_data
from structkd.datasets.pickles import plain_pickle
from structkd.errors import ConfigError, DataError, nearest

NAMES = ("Cora", "CiteSeer", "PubMed")
PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
#: Nodes that the public split validates on: those after the training nodes.
VALIDATED = 500
#: What these pickles hold beside arrays: matrices of scipy under the names of Python 2, and a dict of lists.
_CLASSES = {
    *(f"scipy.sparse.{module}.csr_matrix" for module in ("csr", "_csr")),
    *("copy_reg._reconstructor", "copyreg._reconstructor", "collections.defaultdict"),
    *(f"{module}.{name}" for module in ("__builtin__", "builtins") for name in ("object", "list")),
}


def planetoid_graph(root: str | Path, name: str = "Cora", sparse: bool | None = None) -> Data:
    """A Planetoid citation graph, read from its official raw files (Yang et al., ICML 2016, arXiv:1603.08861).

    Args:
        root: folder that holds `<name>/raw/ind.<name>.{x,tx,allx,y,ty,ally,graph,test.index}`, PyG's layout.
        name: "Cora" (2708 nodes, 5278 edges), "CiteSeer" (3327, 4552; it has isolated nodes, whose features are
            zero) or "PubMed" (19717, 44324).
        sparse: keep the bag-of-words features as a sparse CSR tensor; default dense.

    Returns:
        `Data` with `x` as stored (0/1 words; TF-IDF for PubMed; not row-normalised), `edge_index`, `y` and the
        public `train_mask`, `val_mask`, `test_mask`.

    Raises:
        DataError: missing or damaged files, or ones that ask for more than arrays and sparse matrices; none of the
            code that a pickle may ask for is run.

    Differences: as `torch_geometric.datasets.Planetoid`, but nothing is cached beside the raw files, so a read-only
    folder works. These are not the graphs of the CPF and GLNN papers: see `cpf_graph`.
    """
    if name not in NAMES:
        raise ConfigError(f"planetoid_graph(name={name!r}): there is no such graph. {nearest(name, NAMES)}")
    folder = Path(root) / name / "raw"
    code = f"from torch_geometric.datasets import Planetoid; Planetoid('{root}', '{name}')"
    how = f'Download it with: python -c "{code}", or choose digits_graph, which needs no download.'
    for part in PARTS:
        require_file(folder / f"ind.{name.lower()}.{part}", how)
    parts = {part: _read(folder / f"ind.{name.lower()}.{part}", how) for part in PARTS}
    known, listed = parts["allx"].shape[0], parts["test.index"]
    if np.unique(listed).size != parts["tx"].shape[0] or int(listed.min()) < known:
        ids = ValueError(f"{np.unique(listed).size} ids for {parts['tx'].shape[0]} test nodes")
        raise damaged(folder / f"ind.{name.lower()}.test.index", ids, how)
    try:
        return _joined(parts, known, str(folder), sparse)
    except (ValueError, IndexError, RuntimeError) as error:  # parts that do not fit each other
        raise damaged(folder / f"ind.{name.lower()}.*", error, how) from error


def _joined(parts: dict[str, Any], known: int, source: str, sparse: bool | None) -> Data:
    """Nodes that are no test nodes come first. Test nodes have the ids listed for them; ids that are missing among them
    belong to isolated nodes without features."""
    listed = parts["test.index"]
    nodes, tested = int(listed.max()) + 1, len(listed)
    place = sp.csr_matrix((np.ones(tested), (listed - known, np.arange(tested))), (nodes - known, tested))
    x = sp.vstack([parts["allx"], place @ parts["tx"]])
    y = torch.zeros(nodes, dtype=torch.int64)
    y[:known] = torch.from_numpy(parts["ally"].argmax(1))
    y[listed] = torch.from_numpy(parts["ty"].argmax(1))
    graph = parts["graph"]
    source_ids = np.repeat(np.array(list(graph), dtype=np.int64), [len(near) for near in graph.values()])
    edges = np.stack([source_ids, np.fromiter(chain.from_iterable(graph.values()), np.int64)])
    train = parts["y"].shape[0]
    rows = {"train": np.arange(train), "val": np.arange(train, train + VALIDATED), "test": listed}
    masks = {f"{split}_mask": torch.zeros(nodes, dtype=torch.bool) for split in rows}
    for split, ids in rows.items():
        masks[f"{split}_mask"][ids] = True
    return graph_data(x, edges, y, source, sparse, **masks)


def _read(path: Path, how: str) -> Any:
    """One of the parts: a sparse matrix, an array, a dict of lists, or (text) the list of test nodes."""
    try:
        if path.name.endswith("test.index"):
            return np.array(path.read_text().split(), dtype=np.int64)
        found = plain_pickle(path.read_bytes(), path, "latin1", _CLASSES)
    except (DataError, ValueError) as error:
        raise damaged(path, error, how) from error
    kind = dict if path.name.endswith("graph") else np.ndarray if path.name.endswith("y") else sp.spmatrix
    if not isinstance(found, kind):
        raise damaged(path, ValueError(f"it holds a {type(found).__name__}"), how)
    return found
