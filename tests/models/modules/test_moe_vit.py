import copy

import pytest
import torch

from structkd.errors import ConfigError, WiringError
from structkd.evaluation.efficiency import count_macs
from structkd.models import ViT, VMoE, upcycle_
from structkd.models.modules import MoE, recorded
from structkd.models.modules.moe_vit import moe_places

SMALL = dict(preset="nano", depth=3, image_size=8, patch_size=2)


def vmoe(**arguments):
    return VMoE(5, **SMALL, **{"experts": 4, **arguments})


def test_contract():
    model = vmoe(moe_blocks="all", registers=1, router=dict(noise=0.25, capacity=1.0, balance=dict(z=1.0))).train()
    images = torch.rand(4, 3, 8, 8)
    with recorded(model) as records:
        logits = model(images)
    assert logits.shape == (4, 5) and list(records) == [f"blocks.{i}.mlp.router" for i in range(3)]
    assert records["blocks.0.mlp.router"].shape == (4, 18)  # 16 patches, a class and a register token
    logits.sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    model.eval()
    with torch.no_grad():
        assert torch.allclose(model(images[1:2]), model(images)[1:2], atol=1e-5)  # dropless: nobody else matters
    assert [f.path for f in model.feature_info()] == ["blocks.0", "blocks.1", "blocks.2", "norm", "pool"]


def test_places():
    assert moe_places("odd", 6) == (1, 3, 5) and moe_places("odd", 1) == () and moe_places("all", 2) == (0, 1)
    assert moe_places([-1, 0, 2], 3) == (0, 2) and moe_places([], 3) == ()
    model = vmoe(moe_blocks=[-1])
    assert [isinstance(block.mlp, MoE) for block in model.blocks] == [False, False, True]


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("blocks", ["odd", "all"])
def test_upcycled_is_at_first_the_dense_model(k, blocks):
    dense = ViT(5, **SMALL).eval()
    model = vmoe(k=k, moe_blocks=blocks, router=dict(order="topk_softmax")).eval()
    routers = [copy.deepcopy(m.router.state_dict()) for m in model.modules() if isinstance(m, MoE)]
    images = torch.rand(3, 3, 8, 8)
    with torch.no_grad():
        assert not torch.allclose(model(images), dense(images), atol=1e-3)
        upcycle_(model, dense)
        torch.testing.assert_close(model(images), dense(images), rtol=1e-5, atol=1e-6)
    after = [m.router.state_dict() for m in model.modules() if isinstance(m, MoE)]
    assert all(torch.equal(a["linear.weight"], b["linear.weight"]) for a, b in zip(routers, after, strict=True))
    model.train()(images).square().sum().backward()  # what the experts get is their own, so they part
    gradient = model.blocks[1].mlp.experts.fc1.weight.grad
    assert not torch.allclose(gradient[0], gradient[1])


def test_softmax_before_the_choice_scales_the_experts_down():
    dense, model = ViT(5, **SMALL).eval(), vmoe().eval()
    upcycle_(model, dense)
    x = torch.randn(1, 17, 64)
    moe, mlp = model.blocks[1].mlp, dense.blocks[1].mlp
    share = moe.router(x).gate.sum(1).view(1, 17, 1)
    assert bool((share < 1).all())
    torch.testing.assert_close(moe(x), share * mlp(x))


def test_what_cannot_be_upcycled():
    model = vmoe()
    for other, message in (
        (vmoe(), "got a VMoE"),
        (ViT(5, **{**SMALL, "depth": 2}), "2 blocks, the V-MoE 3"),
        (ViT(6, **SMALL), r"head.weight is \(6, 64\) in the dense model, \(5, 64\) here"),
        (ViT(5, **SMALL, pool="mean"), "cls_token is in only one"),
        (ViT(5, **SMALL, mlp_ratio=2.0), r"is \(128, 64\)|is \(128,\)"),
    ):
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(WiringError, match=message):
            upcycle_(model, other)
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_export_is_the_same_on_any_batch():
    model = vmoe(moe_blocks="all").eval()
    images = torch.rand(2, 3, 8, 8)
    shapes = ({0: torch.export.Dim("images")},)
    program = torch.export.export(model, (images,), dynamic_shapes=shapes).module()
    for x in (images, torch.rand(5, 3, 8, 8)):
        torch.testing.assert_close(program(x), model(x), rtol=1e-5, atol=1e-6)


def test_costs_are_those_of_the_experts_that_run():
    with torch.no_grad():
        dense = count_macs(ViT(5, **SMALL), torch.rand(1, 3, 8, 8))
        counts = {k: count_macs(vmoe(k=k, moe_blocks=[1]), torch.rand(1, 3, 8, 8)) for k in (1, 2)}
    mlp = 17 * 2 * 64 * 256
    assert counts == {1: dense + 17 * 64 * 4, 2: dense + mlp + 17 * 64 * 4}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(moe_blocks="even"), "moe_blocks='even' is unknown. Available: odd, all"),
        (dict(moe_blocks=[3]), r"moe_blocks=\[3\]: expected numbers from -3 to 2"),
        (dict(router=dict(topk=2)), "router={'topk': 2} does not fit"),
        (dict(k=9), "k=9: expected 1 to 4"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        vmoe(**arguments)
