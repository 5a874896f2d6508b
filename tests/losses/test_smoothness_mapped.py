import pytest
import torch

from structkd.datasets import synthetic_graph
from structkd.errors import ConfigError, DataError
from structkd.losses import neighbor_targets
from structkd.losses.smoothness_mapped import mapped_neighbor_targets
from structkd.ops import csr_of
from structkd.ops.mapped import MappedCSR


@pytest.fixture
def edges():
    return synthetic_graph(num_nodes=40, num_edges=90, num_features=2, num_classes=3).edge_index


@pytest.fixture
def mapped(edges):
    csr = csr_of(edges, 40)
    return MappedCSR(csr.rowptr, csr.col.int())


@pytest.mark.parametrize("reduction", ["edge", "node"])
@pytest.mark.parametrize("sources", [None, 11])
def test_equals_the_targets_made_in_memory(edges, mapped, reduction, sources):
    logits = 3 * torch.randn(40, 5)
    expected = neighbor_targets(torch.softmax(logits / 2, -1), edges, reduction)
    blocks = list(mapped_neighbor_targets(logits, mapped, reduction, 2.0, edges=20, sources=sources))
    assert len(blocks) > 3
    for part, whole in zip(zip(*blocks, strict=True), expected, strict=True):
        torch.testing.assert_close(torch.cat(part), whole)
    rest = list(mapped_neighbor_targets(logits, mapped, reduction, 2.0, edges=20, sources=sources, done=2))
    assert len(rest) == len(blocks) - 2
    for again, block in zip(rest, blocks[2:], strict=True):
        assert all(map(torch.equal, again, block))


def test_refusals(mapped):
    with pytest.raises(ConfigError, match="reduction"):
        next(mapped_neighbor_targets(torch.zeros(40, 2), mapped, "mean"))
    with pytest.raises(DataError, match="39 rows"):
        next(mapped_neighbor_targets(torch.zeros(39, 2), mapped))
