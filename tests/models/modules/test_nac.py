import math

import pytest
import torch

from structkd.adapters.taps import tapped
from structkd.errors import ConfigError, DataError
from structkd.evaluation.efficiency import count_macs
from structkd.models import NAC, ModularView, owed_losses, recorded
from structkd.models.modules.nac import ConfidentPool
from structkd.models.modules.nac_design import Design, graph_prior
from structkd.models.modules.nac_graph import block_model_loss, hinge_repulsion, signature_distances

SIZES = (
    *("width", "depth", "heads", "inputs", "mediators", "outputs"),
    *("code_channels", "signature_channels", "in_channels", "patch_size"),
)
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


def test_bfloat16_autocast():
    model = nac(graph=dict(name="ring_of_cliques", cliques=2), drop_path=0.1).train()
    with torch.autocast("cpu", torch.bfloat16), recorded(model) as records:
        loss = torch.nn.functional.cross_entropy(model(torch.rand(4, 3, 8, 8)), torch.arange(4))
        loss = loss + owed_losses(records)["prior"]
    loss.backward()
    assert bool(loss.isfinite()) and all(bool(p.grad.isfinite().all()) for p in model.parameters())
    kernel = records["layers.0.attn.connect"].kernel
    with recorded(model) as exact:
        model(torch.rand(4, 3, 8, 8))
    torch.testing.assert_close(kernel, exact["layers.0.attn.connect"].kernel)


def test_output_pool_draws_gumbel_noise(monkeypatch):
    torch.manual_seed(0)
    pool = ConfidentPool(3)
    x = torch.eye(3).expand(20000, 3, 3)  # so that the pooled vector is the shares themselves
    with torch.no_grad():
        pool.confidence.weight.copy_(torch.tensor([[0.0, 1.0, 2.0]]))
        expected = torch.tensor([0.0, 1.0, 2.0]).softmax(0)
        shares = pool.train()(x)
        # The Gumbel-max trick: the largest one is a sample of the softmax without noise.
        counts = torch.bincount(shares.argmax(1), minlength=3) / len(x)
        torch.testing.assert_close(counts, expected, rtol=0, atol=0.015)
        torch.testing.assert_close(shares.sum(1), torch.ones(len(x)))
        torch.testing.assert_close(pool.eval()(x[:2]), expected.expand(2, 3))
    drawn, gumbel = [], torch.nn.functional.gumbel_softmax
    monkeypatch.setattr(
        torch.nn.functional, "gumbel_softmax", lambda score, **kw: drawn.append(score.dtype) or gumbel(score, **kw)
    )
    with torch.autocast("cpu", torch.bfloat16):
        pool.train()(x)
    assert drawn == [torch.float32] and pool.bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_connections_are_as_asked():
    model = nac(truncation=0.35, temperature=2.0)
    with torch.no_grad():
        for signature in model.designs[0].signature.values():  # directions of 0 to 50 degrees: distances up to 0.36
            signature.copy_(torch.linspace(0, 1.2, len(signature))[:, None] * torch.eye(16)[0] + torch.eye(16)[1])
    with recorded(model) as records:
        model(torch.rand(1, 3, 8, 8))
    for name in ("layers.0", "layers.1", "read_out"):
        connect, link = model.get_submodule(f"{name}.attn.connect"), records[f"{name}.attn.connect"]
        assert (connect.truncation, connect.temperature) == (0.35, 2.0)
        strength = link.kernel[link.kernel > 0]
        assert float(strength.min().detach()) >= math.exp(-0.35)


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


@pytest.mark.parametrize("truncation", [0.5, 0.9])
def test_mediators_begin_connected_as_the_prior_says(truncation):
    model = nac(graph=dict(name="ring_of_cliques", cliques=2), truncation=truncation).eval()
    with recorded(model) as records:
        model(torch.rand(1, 3, 8, 8))
    near = records["layers.0.attn.connect"].kernel[:, 4:] > 0
    expected = torch.kron(torch.eye(2), torch.ones(4, 4)).bool()
    expected[3, 4] = expected[4, 3] = True  # themselves included, as a latent hears itself
    assert torch.equal(near, expected)


def test_designs_of_a_prior_begin_alike_and_learn_apart():
    graph = dict(name="ring_of_cliques", cliques=2)
    first, second = nac(graph=graph, shared_design=False).designs[1:3]
    start = second.signature["mediators"].detach().clone()
    assert torch.equal(first.signature["mediators"], start)
    with torch.no_grad():
        first.signature["mediators"].zero_()
    assert torch.equal(second.signature["mediators"], start)
    assert not torch.equal(nac(graph=graph, seed=1).designs[0].signature["mediators"], start)


@pytest.mark.parametrize("mediators", [32, 64, 256])
def test_training_begins_without_repulsion(mediators):
    torch.manual_seed(0)  # the seed of the fit, too, whose numbers must be others
    prior = graph_prior(mediators, dict(name="ring_of_cliques", cliques=8), 64, 0.9, 0)
    design = Design(dict(inputs=mediators // 2, mediators=mediators, outputs=8), 64, 4, prior, 0.9, 0.1)
    assert float(design().losses["prior"].detach()) < 0.01


def test_prior_is_weighted():
    def owed(weight, **arguments):
        model = nac(prior_weight=weight, **arguments)
        with recorded(model) as records:
            model(torch.rand(1, 3, 8, 8))
        return model, float(owed_losses(records)["prior"].detach())

    few = dict(signature_channels=2)  # so that signatures are close
    model, loss = owed(0.3, **few)
    signatures = torch.cat(list(model.designs[0].signature.values()))
    assert loss == pytest.approx(0.3 * float(hinge_repulsion(signatures, 0.4).detach())) and loss > 1
    assert owed(None, **few)[1] == pytest.approx(loss / 3)
    blocks = dict(graph=dict(name="planted_partition", groups=2))
    assert owed(None, **blocks)[1] == owed(1.0, **blocks)[1] == pytest.approx(2 * owed(0.5, **blocks)[1])


@pytest.mark.parametrize("shared", [True, False])
def test_block_model_reads_the_kernels_of_the_layers(shared):
    model = nac(graph=dict(name="planted_partition", groups=2), shared_design=shared, truncation=1.1)
    bandwidths = torch.tensor([0.5, 2.0, 1.5])  # of two layers and of what reads out
    connects = [*(layer.attn.connect for layer in model.layers), model.read_out.attn.connect]
    with torch.no_grad(), recorded(model) as records:
        for connect, bandwidth in zip(connects, bandwidths):
            connect.log_bandwidth.copy_(bandwidth.log())
        model(torch.rand(1, 3, 8, 8))
    owed = float(owed_losses(records)["prior"])
    signatures = model.designs[-1].signature["mediators"].detach()
    target = 0.2 + 0.7 * torch.kron(torch.eye(2), torch.ones(4, 4))
    # Of one design: the sum over the layers. Else the mean over the parts: each owes for its own, all start alike.
    expected = block_model_loss(signatures, target, bandwidths[:2] if shared else bandwidths, 1.1)
    assert owed == pytest.approx(float(expected / (1 if shared else 3)), rel=1e-5)
    with recorded(model) as records:
        model(torch.rand(1, 3, 8, 8))
    owed_losses(records)["prior"].backward()
    learns = [name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())]
    parts = 1 if shared else 3
    assert sum(name.endswith("signature.mediators") for name in learns) == parts
    assert sum(name.endswith("log_bandwidth") for name in learns) == len(learns) - parts == (2 if shared else 3)


def test_block_model_draws_groups_together():
    prior = graph_prior(32, dict(name="planted_partition", groups=4), 64, 0.9, 0)
    design, bandwidth = Design({"mediators": 32}, 64, 4, prior, 0.9, 1.0), torch.tensor(1.0)
    step = torch.optim.Adam(design.parameters(), 0.01)
    losses = []
    for _ in range(60):
        step.zero_grad()
        losses.append(design([bandwidth]).losses["prior"])
        losses[-1].backward()
        step.step()
    near = signature_distances(*[design.signature["mediators"].detach()] * 2) <= 0.9
    within = torch.kron(torch.eye(4), torch.ones(8, 8)).bool()
    assert torch.equal(near, within)  # a tie beyond its group is cheaper cut than kept at exp(-0.9)
    assert float(losses[-1].detach()) < 0.5 * float(losses[0].detach())


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
        (dict(heads=3), "width=16 is not divisible by 3 heads"),
        *((dict([(key, 0)]), f"^{key}=0: expected a whole number") for key in SIZES),
        (dict(width=-4), "^width=-4: expected a whole number, 1 or more"),
        (dict(depth=1.5), "^depth=1.5: expected a whole number"),
        (dict(prior_weight=-1), "^prior_weight=-1: expected 0 or more"),
        (dict(prior_weight=math.nan), "^prior_weight=nan"),
        (dict(drop_path=1.0), r"^drop_path=1\.0: expected 0 or more, below 1"),
        (dict(truncation=0.0), r"^truncation=0\.0: expected a distance above 0, up to 2"),
        (dict(temperature=0), "^temperature=0: expected a number above 0, or None"),
        (dict(graph=dict(name="erdos_renyi", p=7)), "p=7, expected a probability"),
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
