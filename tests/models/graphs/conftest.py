"""The graph on which the graph models are tested."""

import pytest
import torch


def _multigraph(num_nodes=30, num_edges=150):
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(num_nodes - 1, (2, num_edges), generator=generator)
    return torch.cat([edges, edges[:, :40], torch.tensor([[0, 0, 1], [0, 0, 1]])], dim=1)


def _features(channels, num_nodes=30):
    return torch.randn(num_nodes, channels, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def multigraph():
    """Makes edges [2, E] over 30 nodes: directed, some parallel, loops, double loops, and a last node without any."""
    return _multigraph


@pytest.fixture
def features():
    """Makes float64 features [30, channels], the same at every call."""
    return _features
