import math

import pytest
import torch
from torch.autograd import gradcheck

from structkd.errors import ConfigError
from structkd.models.modules.nac_graph import (
    GRAPHS,
    block_model_loss,
    block_probabilities,
    fitted_signatures,
    hinge_repulsion,
    prior_graph,
    signature_distances,
)

OPTIONS = {
    "scale_free": dict(m=2),
    "erdos_renyi": dict(p=0.3),
    "ring_of_cliques": dict(cliques=4),
    "planted_partition": dict(groups=4),
}


@pytest.mark.parametrize("kind", GRAPHS)
def test_symmetric_without_loops_and_from_the_seed(kind):
    graph = dict(name=kind, **OPTIONS[kind])
    ties = prior_graph(24, graph, 3)
    assert ties.dtype == torch.bool and ties.shape == (24, 24)
    assert torch.equal(ties, ties.t()) and not bool(ties.diagonal().any()) and bool(ties.any())
    assert torch.equal(ties, prior_graph(24, graph, 3))
    if kind != "ring_of_cliques":
        assert not torch.equal(ties, prior_graph(24, graph, 4))


def test_how_many_ties():
    # m earlier nodes for each but the first m + 1, which have m ties among them.
    assert int(prior_graph(40, dict(name="scale_free", m=3)).sum()) == 2 * (3 + 36 * 3)
    degree = prior_graph(200, dict(name="scale_free")).sum(1)
    assert int(degree.min()) >= 1 and int(degree.max()) > 5 * int(degree.median())
    share = float(prior_graph(200, dict(name="erdos_renyi", p=0.1)).float().mean())
    assert share == pytest.approx(0.1, abs=0.01)


def test_ring_of_cliques_by_hand():
    ties = prior_graph(6, dict(name="ring_of_cliques", cliques=3))
    pairs = {tuple(pair) for pair in ties.triu().nonzero().tolist()}
    assert pairs == {(0, 1), (2, 3), (4, 5), (1, 2), (3, 4), (0, 5)}


def test_planted_partition():
    chance = block_probabilities(4, 2, 0.9, 0.2)
    torch.testing.assert_close(chance[0], torch.tensor([0.9, 0.9, 0.2, 0.2]))
    ties = prior_graph(400, dict(name="planted_partition", groups=2)).float()
    assert float(ties[:200, :200].mean()) == pytest.approx(0.9, abs=0.02)
    assert float(ties[:200, 200:].mean()) == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("nodes, cut", [(16, 0.9), (32, 0.9), (64, 0.6), (256, 0.9)])
def test_fitted_signatures_give_the_graph(kind, nodes, cut):
    ties = prior_graph(nodes, dict(name=kind, **OPTIONS[kind]))
    signatures = fitted_signatures(ties, 64, cut)
    distance = signature_distances(signatures, signatures)
    pairs = ~torch.eye(nodes, dtype=torch.bool)
    assert torch.equal((distance <= cut)[pairs], ties[pairs])
    assert float((distance - cut)[pairs].abs().min()) > 0.004  # half the margin
    # Not far beyond the cut: what the signatures owe at a hinge of 0.4 is about nothing.
    assert float(hinge_repulsion(signatures, 0.4)) < 0.05
    torch.testing.assert_close(signatures.norm(dim=1), torch.ones(nodes))


def test_a_fit_begins_orthogonal_and_moves_what_it_must():
    # Without ties the start is the fit: as many orthogonal signatures as there are channels.
    signatures = fitted_signatures(torch.zeros(8, 8, dtype=torch.bool), 8, 0.9)
    torch.testing.assert_close(signatures @ signatures.t(), torch.eye(8))
    # A pair that is tied comes just under the cut.
    ties = torch.zeros(8, 8, dtype=torch.bool)
    ties[0, 1] = ties[1, 0] = True
    distance = signature_distances(*[fitted_signatures(ties, 8, 0.9)] * 2)
    assert 0.88 < float(distance[0, 1]) < 0.9 and float(distance[2:, 2:].triu(1).max()) < 1.01


def test_fitted_signatures_are_constants_from_the_seed():
    ties = prior_graph(16, dict(name="scale_free"))
    signatures = fitted_signatures(ties, 64, 0.9)
    assert not signatures.requires_grad and not torch.equal(signatures, fitted_signatures(ties, 64, 0.9, seed=1))
    with torch.no_grad():  # as where a model is built for its weights only
        assert torch.equal(signatures, fitted_signatures(ties, 64, 0.9))
    assert fitted_signatures(ties[:1, :1], 4, 0.9).shape == (1, 4)


def test_repulsion_by_hand(generator):
    half = math.sqrt(0.5)
    signatures = torch.tensor([[1.0, 0], [3, 0], [half, half], [-1, 0]])
    # distances: 0 (parallel, whatever their length), 1 - sqrt(0.5) twice, others above 0.4
    assert float(hinge_repulsion(signatures, 0.4)) == pytest.approx(0.4 + 2 * (0.4 - (1 - half)), rel=1e-5)
    assert float(hinge_repulsion(torch.eye(3), 0.4)) == 0 == float(hinge_repulsion(torch.eye(3)[:1], 0.4))
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: hinge_repulsion(x, 0.9), (x,))


def test_distances_under_autocast(generator):
    x = torch.randn(5, 7, generator=generator)
    exact = signature_distances(x, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(signature_distances(x, x), exact)
    half = signature_distances(x.bfloat16(), x.bfloat16())
    assert half.dtype == torch.float32 and float(half.diagonal().abs().max()) < 1e-6


def test_block_model_by_hand(generator):
    # Two latents at a distance of 0.5: strengths exp(-0.5) and exp(-0.25) at bandwidths 1 and 2; each itself: 1.
    signatures = torch.tensor([[1.0, 0], [1, math.sqrt(3)]])
    target = torch.tensor([[0.9, 0.3], [0.3, 0.9]])
    pairs = [(math.exp(-0.5) - 0.3) ** 2, (math.exp(-0.25) - 0.3) ** 2]
    loss = block_model_loss(signatures, target, torch.tensor([1.0, 2.0]), 0.9)
    assert float(loss) == pytest.approx(sum(0.5 * pair + 0.5 * 0.1**2 for pair in pairs), rel=1e-5)
    # Beyond the cut there is no connection, whatever the bandwidth.
    loss = block_model_loss(signatures, target, torch.tensor([1.0]), 0.4)
    assert float(loss) == pytest.approx(0.5 * 0.3**2 + 0.5 * 0.1**2, rel=1e-5)
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    bandwidths = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    target = torch.rand(5, 5, generator=generator, dtype=torch.float64)
    pairs = ~torch.eye(5, dtype=torch.bool)
    near = (signature_distances(x, x)[pairs] <= 0.9).float().mean()
    assert 0 < float(near) < 1
    assert gradcheck(lambda x, b: block_model_loss(x, target, b, 0.9), (x, bandwidths))


@pytest.mark.parametrize(
    "graph, message",
    [
        (dict(name="small_world"), "graph.name='small_world' is unknown"),
        (dict(m=2), "graph.name=None"),
        (dict(name="scale_free", p=1), "does not fit"),
        (dict(name="scale_free", m=10), "m=10, expected 1 to 9"),
        (dict(name="erdos_renyi", p=7), "erdos_renyi: p=7, expected a probability, 0 to 1"),
        (dict(name="erdos_renyi", p=-0.1), "p=-0.1, expected"),
        (dict(name="planted_partition", groups=2, p_in=1.5), "planted_partition: p_in=1.5, expected"),
        (dict(name="planted_partition", groups=2, p_out=float("nan")), "p_out=nan, expected"),
        (dict(name="planted_partition", parts=2), "does not fit"),
        (dict(name="ring_of_cliques", cliques=3), "10 mediators cannot be cut into 3 equal groups"),
    ],
)
def test_wrong_graphs(graph, message):
    with pytest.raises(ConfigError, match=message):
        prior_graph(10, graph)
