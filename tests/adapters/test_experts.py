import pytest
import torch

from structkd.adapters import ExpertAdapter
from structkd.adapters.experts import expert_fields, token_fields
from structkd.datasets import Images
from structkd.errors import ConfigError, WiringError
from structkd.models import Stitched, ViT, VMoE
from structkd.models.modules.router import Routing
from structkd.relations import Routing as Routes


def batch(count=3):
    ids = torch.tensor([7, 4, 9])[:count]
    return Images(images=torch.rand(count, 3, 8, 8), y=torch.arange(count), n_id=ids)


def model(**router):
    torch.manual_seed(0)
    return VMoE(5, "nano", depth=3, image_size=8, patch_size=2, experts=4, moe_blocks="all", router=router).eval()


def routing(expert, gate, experts, kept=None):
    expert, gate = torch.tensor(expert), torch.tensor(gate)
    kept = torch.ones_like(expert, dtype=torch.bool) if kept is None else torch.tensor(kept)
    scores = torch.zeros(len(expert), experts)
    return Routing((1, len(expert)), scores, scores.softmax(1), expert, gate, kept)


def test_tokens_and_their_experts():
    adapter, network, images = ExpertAdapter(maps=dict(last="norm")), model(), batch()
    adapter.check(network)
    structure = adapter(network, images).check()
    assert adapter.provides >= structure.provides - {"losses"} and structure.last.shape == (3, 64, 4, 4)
    tokens = 3 * 17
    assert structure.x.shape == (tokens, 64) and structure.x_dst.shape == (4, 64) and structure.num_elements == tokens
    assert structure.edge_index.shape == (2, 2 * tokens) and bool(structure.mask.all())
    # The router's own decision, from its inputs and weights.
    probs = (structure.x @ structure.x_dst.t()).softmax(1)
    weight, expert = probs.topk(2, 1)
    assert torch.equal(structure.edge_index[1].view(-1, 2), expert)
    torch.testing.assert_close(structure.edge_weight.view(-1, 2), weight)
    routes = Routes(2)(structure)
    assert torch.equal(routes.edge_index, structure.edge_index)
    assert torch.equal(structure.batch, torch.arange(3).repeat_interleave(17))
    assert torch.equal(structure.image_id, images.n_id)
    assert structure.n_id[:18].tolist() == [*range(7 * 17, 8 * 17), 4 * 17]
    assert structure.pos[:3].tolist() == [[-1, -1], [0, 0], [0, 1]] and structure.pos[16].tolist() == [3, 3]
    assert torch.equal(structure.logits, network(images.images)) and torch.equal(structure.y, images.y)
    structure.edge_weight.sum().backward()
    assert bool(network.blocks[2].mlp.router.linear.weight.grad.any())


def test_a_network_around_the_transformer():
    """Class tokens are those of the transformer that the router is in."""
    network, images = model(), batch()
    wrapped = Stitched(network, ViT(5, "nano", depth=3, image_size=8, patch_size=2), ["blocks.1"], image_size=8)
    pos = ExpertAdapter()(wrapped, images).pos
    assert pos[:3].tolist() == [[-1, -1], [0, 0], [0, 1]]


def test_the_router_that_is_named():
    network, images = model(), batch()
    first = ExpertAdapter(router="blocks.0.mlp.router")(network, images)
    assert torch.equal(first.x_dst, network.blocks[0].mlp.router.linear.weight)
    with pytest.raises(WiringError, match=r"no router at 'blocks.0.mlp'. Nearest: blocks.0.mlp.router"):
        ExpertAdapter(router="blocks.0.mlp").check(network)


def test_tokens_by_hand():
    found = token_fields(
        routing([[0, 1], [1, 2]], [[0.6, 0.3], [0.5, 0.4]], 3, [[True, False], [False, False]]),
        torch.ones(1, 2, 4),
        torch.ones(3, 4),
        torch.tensor([5]),
    )
    assert found["edge_index"].tolist() == [[0], [0]] and found["edge_weight"].tolist() == pytest.approx([0.6])
    assert found["gates"].tolist() == [pytest.approx([0.6, 0, 0]), [0, 0, 0]]
    assert found["mask"].tolist() == [True, False] and found["n_id"].tolist() == [10, 11]


def test_experts_by_hand():
    first = routing([[0], [0], [1]], [[1.0], [1.0], [1.0]], 2)
    second = routing([[2, 0], [2, 0], [0, 2]], [[0.75, 0.25], [0.5, 0.5], [0.9, 0.1]], 3)
    found = expert_fields({"a": first, "b": second}, {"a": torch.zeros(2, 4), "b": torch.ones(3, 4)})
    assert found["importance"].tolist() == pytest.approx([2 / 3, 1 / 3, 0.5, 0, 0.5])
    assert found["mask"].tolist() == [True, True, True, False, True]
    assert found["pos"].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [1, 2]]
    assert found["edge_index"].tolist() == [[0, 0, 1, 1], [2, 4, 2, 4]]
    assert found["edge_weight"].tolist() == pytest.approx([0.75 / 3, 1.25 / 3, 0.9 / 3, 0.1 / 3])


def test_experts_of_a_model():
    structure = ExpertAdapter("experts")(model(order="topk_softmax"), batch()).check()
    assert structure.num_elements == 12 and float(structure.importance.sum()) == pytest.approx(3)
    between = structure.pos[structure.edge_index[0], 0]
    for stage in (0, 1):
        assert float(structure.edge_weight[between == stage].sum()) == pytest.approx(1, rel=1e-5)
    assert bool((structure.pos[structure.edge_index[1], 0] == between + 1).all())


def test_losses_and_no_images():
    network = model(balance=dict(z=0.5))
    structure = ExpertAdapter()(network, batch(0)).check()
    assert set(structure.losses) == {"z"} and structure.edge_index.shape == (2, 0)
    assert ExpertAdapter("experts")(network, batch(0)).check().edge_index.shape == (2, 0)
    assert float(ExpertAdapter()(network, batch(1)).losses["z"]) > 0


def test_errors():
    with pytest.raises(ConfigError, match="view='expert'"):
        ExpertAdapter("expert")
    with pytest.raises(ConfigError, match="fills the field x itself"):
        ExpertAdapter(maps=dict(x="norm"))
    with pytest.raises(WiringError, match="ViT has no router"):
        ExpertAdapter().check(ViT(5, "nano", depth=1))
