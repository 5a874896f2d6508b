"""Losses: pure functions on tensors and edge lists that several methods share.

None detaches its teacher side unless it says so: `Distiller.__call__` does, in one place.
"""

from structkd.losses.attention import attention_map, attention_transfer
from structkd.losses.channel_wise import channel_kl
from structkd.losses.contextual import contextual_loss
from structkd.losses.contrastive import noise_contrastive, sampled_info_nce
from structkd.losses.correlation import correlation_loss
from structkd.losses.decoupled import decoupled_kl
from structkd.losses.dirichlet import dirichlet_energy
from structkd.losses.features import feature_loss
from structkd.losses.gaussian import gaussian_nll
from structkd.losses.gram import gram_mse
from structkd.losses.instance_graph import instance_edges, instance_transform
from structkd.losses.local_structure import edge_similarity, local_structure_kl
from structkd.losses.logits import binary_kl_divergence, kl_divergence
from structkd.losses.pyramid import hierarchical_context
from structkd.losses.ranking import context_distribution, context_ranking
from structkd.losses.reconstruction import edge_reconstruction
from structkd.losses.relational import angle_loss, distance_loss
from structkd.losses.samples import sample_mean
from structkd.losses.similarity import (
    consecutive_product,
    correlation_congruence,
    probabilistic_transfer,
    similarity_preserving,
)
from structkd.losses.smoothness import (
    NeighborTargets,
    edge_kl,
    high_frequency,
    low_frequency,
    low_frequency_edges,
    neighbor_targets,
)
from structkd.losses.token import token_kl, token_similarity
from structkd.losses.token_contrast import token_contrast
from structkd.losses.token_graph import gaussian_weights, token_graph_loss

__all__ = [
    "NeighborTargets",
    "angle_loss",
    "attention_map",
    "attention_transfer",
    "binary_kl_divergence",
    "channel_kl",
    "consecutive_product",
    "context_distribution",
    "context_ranking",
    "contextual_loss",
    "correlation_congruence",
    "correlation_loss",
    "decoupled_kl",
    "dirichlet_energy",
    "distance_loss",
    "edge_kl",
    "edge_reconstruction",
    "edge_similarity",
    "feature_loss",
    "gaussian_nll",
    "gaussian_weights",
    "gram_mse",
    "hierarchical_context",
    "high_frequency",
    "instance_edges",
    "instance_transform",
    "kl_divergence",
    "local_structure_kl",
    "low_frequency",
    "low_frequency_edges",
    "neighbor_targets",
    "noise_contrastive",
    "probabilistic_transfer",
    "sample_mean",
    "sampled_info_nce",
    "similarity_preserving",
    "token_contrast",
    "token_graph_loss",
    "token_kl",
    "token_similarity",
]
