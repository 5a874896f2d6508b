import pytest
import torch

from structkd.adapters.taps import tapped
from structkd.errors import ConfigError, DataError
from structkd.evaluation.efficiency import count_macs
from structkd.models import NAC, ModularView, owed_losses, recorded
from structkd.models.modules.nac_design import Design
from structkd.models.modules.nac_graph import signature_distances

SMALL = dict(width=16, depth=2, heads=2, inputs=4, mediators=8, outputs=3, image_size=8, signature_channels=16)


def nac(**arguments):
    torch.manual_seed(0)
    return NAC(5, **{**SMALL, **arguments})


@pytest.mark.parametrize("shared", [True, False])
def test_contract(shared):
    model, images = nac(shared_design=shared, drop_path=0.1, truncation=1.5).train(), torch.rand(3, 3, 8, 8)
    logits = model(images)
    assert logits.shape == (3, 5)
    logits.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    model.eval()
    with torch.no_grad():
        logits = model(images)
        assert torch.equal(model(images), logits) and torch.allclose(model(images[1:]), logits[1:], atol=1e-5)
        assert not torch.allclose(logits[0], logits[1], rtol=1e-6, atol=0.0)
        assert model(torch.rand(2, 3, 16, 24)).shape == (2, 5) and model(images[:0]).shape == (0, 5)


def test_taps():
    model = nac().eval()
    (tokens, channels, stride), pool = model.feature_info()
    with torch.no_grad(), tapped(model, dict(tokens=tokens, pool=pool.path)) as outputs:
        model(torch.rand(2, 3, 8, 8))
    assert outputs["tokens"].shape == (2, channels, 8 // stride, 8 // stride) and outputs["pool"].shape == (2, 16)


def test_same_seed_same_training_pass():
    model, images = nac().train(), torch.rand(2, 3, 8, 8)
    torch.manual_seed(1)
    first = model(images)
    again = model(images)
    torch.manual_seed(1)
    assert torch.equal(model(images), first) and not torch.equal(again, first)


def test_records_and_what_is_owed():
    model = nac(graph=dict(name="ring_of_cliques", cliques=2))
    with recorded(model) as records:
        model(torch.rand(2, 3, 8, 8))
    assert list(records) == ["designs.0", "layers.0.attn.connect", "layers.1.attn.connect", "read_out.attn.connect"]
    assert records["layers.0.attn.connect"].kernel.shape == (8, 12)
    owed_losses(records)["prior"].backward()
    assert {n for n, p in model.named_parameters() if p.grad is not None} == {
        f"designs.0.signature.{group}" for group in ("inputs", "mediators", "outputs")
    }
    silent = nac(prior_weight=0.0)
    with recorded(silent) as records:
        silent(torch.rand(1, 3, 8, 8))
    assert owed_losses(records) == {}


def test_mediators_begin_connected_as_the_prior_says():
    model = nac(graph=dict(name="ring_of_cliques", cliques=2)).eval()
    with recorded(model) as records:
        model(torch.rand(1, 3, 8, 8))
    near = records["layers.0.attn.connect"].kernel[:, 4:] > 0
    expected = torch.kron(torch.eye(2), torch.ones(4, 4)).bool()
    expected[3, 4] = expected[4, 3] = True  # themselves included, as a latent hears itself
    assert torch.equal(near, expected)


def test_block_model_pulls_groups_together():
    torch.manual_seed(0)
    graph = dict(name="planted_partition", groups=2, p_in=0.95, p_out=0.1)
    design = Design({"mediators": 8}, 16, 4, graph, 0.9, 1.0)
    with torch.no_grad():
        design.signature["mediators"].normal_()
    step = torch.optim.Adam(design.parameters(), 0.05)
    first = float(design().losses["prior"].detach())
    for _ in range(90):
        step.zero_grad()
        design().losses["prior"].backward()
        step.step()
    distance = signature_distances(*[design.signature["mediators"].detach()] * 2)
    assert float(design().losses["prior"].detach()) < first
    assert float(distance[:4, :4].mean()) < 0.5 < float(distance[:4, 4:].mean())


def test_a_circuit_with_designs_of_its_own_parts_can_be_cut():
    model, images = nac(shared_design=False).eval(), torch.rand(2, 3, 8, 8)
    view = ModularView(model, ["layers.0", "read_out"], image_size=8)
    assert [boundary.shape for boundary in view.boundaries] == [(12, 16), (12, 16)]
    x = images
    for i in range(3):
        x = view.forward_range(x, i, i + 1)
    assert torch.equal(x, model(images))
    names = [set(view.part(i, i + 1).state_dict()) for i in range(3)]
    assert sorted(name for part in names for name in part) == sorted(model.state_dict())


def test_costs_are_counted():
    images = torch.rand(1, 3, 8, 8)
    few, many = (count_macs(nac(depth=depth), images) for depth in (1, 2))
    assert few == count_macs(nac(depth=1, shared_design=False), images)
    # A layer's products with states and with codes: query and out of 8 latents, key and value of 12, the FFN (two
    # layers, the first twice as wide); distances of signatures; scores and messages, where torch counts them (on CPUs
    # its counter leaves fused attention out).
    states, codes = (2 * 8 + 2 * 12 + 3 * 8) * 16 * 16, (2 * 8 + 2 * 12 + 2 * 8) * 16 * 16
    expected = states + codes + 8 * 12 * 16
    assert many - few in (expected, expected + 2 * 8 * 12 * 16)


def test_export():
    model, images = nac(depth=1, stem_depths=(0,)).eval(), torch.rand(2, 3, 8, 8)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("images")},)).module()
    other = torch.rand(5, 3, 8, 8)
    torch.testing.assert_close(program(other), model(other), rtol=1e-5, atol=1e-6)


def test_it_learns():
    model, y = nac(depth=1, inputs=8), torch.arange(16) % 4
    images = 0.3 * torch.rand(16, 3, 8, 8)
    for image, corner in zip(images, y.tolist()):  # a bright quarter for each class
        image[:, 4 * (corner // 2) :, 4 * (corner % 2) :][:, :4, :4] += 1
    step, losses = torch.optim.AdamW(model.parameters(), 5e-3), []
    for _ in range(90):
        step.zero_grad()
        losses.append(torch.nn.functional.cross_entropy(model(images), y))
        losses[-1].backward()
        step.step()
    assert float(torch.stack(losses[-10:]).detach().mean()) < 1.1  # chance among the four classes is 1.39


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(preset="huge"), "preset='huge' is unknown"),
        (dict(width=18), "width=18 is not divisible"),
        (dict(drop_path=1.0), "drop_path 0 to 1"),
        (dict(truncation=0.0), r"truncation=0\.0"),
        (dict(stem_depths=()), r"stem_depths=\[\]"),
        (dict(graph=dict(name="ring_of_cliques", cliques=3)), "8 mediators cannot be cut into 3"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        nac(**arguments)


def test_images_of_partial_tokens():
    with pytest.raises(DataError, match=r"\(1, 3, 7, 8\) are not made of whole tokens of 2 pixels"):
        nac()(torch.rand(1, 3, 7, 8))
