"""The embedded default: handwritten digits as a nearest-neighbour graph; needs no download."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data

from structkd.datasets.graphs.build import graph_data
from structkd.errors import ConfigError
from structkd.ops.knn import knn


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 1797 digits: images [1797, 8, 8] in [0, 1], labels [1797]."""
    try:
        from sklearn.datasets import load_digits as sklearn_digits
    except ImportError as error:
        raise ConfigError("The digits come with scikit-learn: pip install scikit-learn.") from error
    digits: Any = sklearn_digits()
    return (digits.images / 16.0).astype(np.float32), digits.target.astype(np.int64)


def digits_graph(k: int = 8) -> Data:
    """1797 handwritten digits, each joined to its `k` nearest neighbours in pixel space, made undirected.

    With few labels a class a GNN clearly beats an MLP here, so distillation has something to carry over:
    `make_split("planetoid_random", data, seed, train_per_class=5, num_val=300, num_test=None)` draws 5 labels a
    class, 300 validation nodes and the rest as test.

    Args:
        k: neighbours a node reaches out to (before the graph is made undirected).

    Returns:
        `Data` with `x` [1797, 64] in [0, 1], `edge_index`, `y` [1797] in 0..9.
    """
    if not 1 <= k < 1797:
        raise ConfigError(f"digits_graph(k={k}): expected 1 to 1796 neighbours.")
    images, labels = load_digits()
    x = torch.from_numpy(images.reshape(len(images), -1))
    neighbours, _ = knn(x, k)
    return graph_data(x, neighbours, labels, "scikit-learn digits")
