"""Losses: pure functions on tensors and edge lists that several methods share.

None detaches its teacher side unless it says so: `Distiller.__call__` does, in one place.
"""

from structkd.losses.dirichlet import dirichlet_energy
from structkd.losses.gram import gram_mse
from structkd.losses.logits import kl_divergence
from structkd.losses.ranking import context_distribution, context_ranking
from structkd.losses.reconstruction import edge_reconstruction
from structkd.losses.smoothness import (
    NeighborTargets,
    edge_kl,
    high_frequency,
    low_frequency,
    low_frequency_edges,
    neighbor_targets,
)
from structkd.losses.token import token_kl, token_similarity

__all__ = [
    "NeighborTargets",
    "context_distribution",
    "context_ranking",
    "dirichlet_energy",
    "edge_kl",
    "edge_reconstruction",
    "gram_mse",
    "high_frequency",
    "kl_divergence",
    "low_frequency",
    "low_frequency_edges",
    "neighbor_targets",
    "token_kl",
    "token_similarity",
]
