"""Cora, CiteSeer and PubMed with the public split."""

from __future__ import annotations

import pickle
from pathlib import Path

from torch_geometric.data import Data
from torch_geometric.io import read_planetoid_data
from torch_geometric.io.planetoid import read_file

from structkd.datasets.files import damaged, require_file
from structkd.datasets.graphs.build import graph_data
from structkd.errors import ConfigError, nearest

NAMES = ("Cora", "CiteSeer", "PubMed")
PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")


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

    Differences: nothing is cached beside the raw files, so a read-only folder works; otherwise as
    `torch_geometric.datasets.Planetoid`, whose parser this uses. These are not the graphs of the CPF and GLNN
    papers: see `cpf_graph`.
    """
    if name not in NAMES:
        raise ConfigError(f"planetoid_graph(name={name!r}): there is no such graph. {nearest(name, NAMES)}")
    folder = Path(root) / name / "raw"
    code = f"from torch_geometric.datasets import Planetoid; Planetoid('{root}', '{name}')"
    how = f'Download it with: python -c "{code}", or choose digits_graph, which needs no download.'
    for part in PARTS:
        require_file(folder / f"ind.{name.lower()}.{part}", how)
    try:
        data = read_planetoid_data(str(folder), name)
        known, tested, listed = (read_file(str(folder), name, part) for part in ("allx", "tx", "test.index"))
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, RuntimeError, AttributeError) as error:
        raise damaged(folder / f"ind.{name.lower()}.*", error, how) from error
    if listed.unique().numel() != tested.size(0) or int(listed.min()) < known.size(0):
        # The parser takes a list that was cut short for complete, and puts features to the wrong nodes.
        ids = ValueError(f"{listed.unique().numel()} ids for {tested.size(0)} test nodes")
        raise damaged(folder / f"ind.{name.lower()}.test.index", ids, how)
    masks = {key: data[key] for key in ("train_mask", "val_mask", "test_mask")}
    return graph_data(data.x, data.edge_index, data.y, str(folder), sparse, **masks)
