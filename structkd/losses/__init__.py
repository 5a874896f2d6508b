"""Losses: pure functions on tensors and edge lists that several methods share.

None detaches its teacher side unless it says so: `Distiller.__call__` does, in one place.
"""

from structkd.losses.attention import attention_map, attention_transfer
from structkd.losses.channel_wise import channel_kl
from structkd.losses.correlation import correlation_loss
from structkd.losses.dirichlet import dirichlet_energy
from structkd.losses.features import feature_loss
from structkd.losses.gram import gram_mse
from structkd.losses.logits import binary_kl_divergence, kl_divergence
from structkd.losses.ranking import context_distribution, context_ranking
from structkd.losses.reconstruction import edge_reconstruction
from structkd.losses.relational import angle_loss, distance_loss
from structkd.losses.samples import sample_mean
from structkd.losses.similarity import similarity_preserving
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
    "angle_loss",
    "attention_map",
    "attention_transfer",
    "binary_kl_divergence",
    "channel_kl",
    "context_distribution",
    "context_ranking",
    "correlation_loss",
    "dirichlet_energy",
    "distance_loss",
    "edge_kl",
    "edge_reconstruction",
    "feature_loss",
    "gram_mse",
    "high_frequency",
    "kl_divergence",
    "low_frequency",
    "low_frequency_edges",
    "neighbor_targets",
    "sample_mean",
    "similarity_preserving",
    "token_kl",
    "token_similarity",
]
