"""HybridAdapter and ChainAdapter: what they read, the shared prefix, and what they refuse."""

import pytest
import torch

from structkd.adapters import ChainAdapter, ExpertAdapter, HybridAdapter
from structkd.datasets import Images
from structkd.distillers import M2mKD
from structkd.engine.objectives import Classification
from structkd.engine.schedules import Weight
from structkd.engine.task import Comparison, DistillTask
from structkd.engine.teachers import LiveTeacher
from structkd.errors import ConfigError, WiringError
from structkd.models import Hybrid, ViT, VMoE

META = dict(width=16, depth=3, heads=2, image_size=8, patch_size=2)
SPLITS = ["blocks.1", "blocks.2"]


def batch(**fields):
    return Images(images=torch.randn(4, 3, 8, 8), y=torch.tensor([0, 1, -1, 2]), n_id=torch.arange(4), **fields)


def hybrid(index=1, kind=ViT, **options):
    return Hybrid(ViT(5, **META), kind(5, **META | dict(width=8) | options), index, SPLITS, image_size=8)


def test_what_it_reads():
    model, images = hybrid(), batch()
    adapter = HybridAdapter(fields=["prefix", "boundary"])
    adapter.check(model)
    found = adapter(model, images)
    assert found.provides == adapter.provides == {"logits", "y", "n_id", "prefix", "boundary"}
    passed = model.trace(images.images)
    for name in ("logits", "prefix", "boundary"):
        assert torch.equal(found[name], getattr(passed, name))
    assert found.is_node_field("prefix") and not found.prefix.requires_grad and found.boundary.requires_grad
    for index, field, why in ((0, "prefix", "takes images"), (2, "boundary", "gives logits")):
        with pytest.raises(ConfigError, match=f"{why}, so there is no {field}"):
            HybridAdapter(fields=[field]).check(hybrid(index))


def test_the_batch_brings_the_prefix_in_training_only():
    model, adapter = hybrid(), HybridAdapter(fields=["prefix"])
    images = batch()
    given = model.run_prefix(images.images)
    images.prefix = given
    assert adapter(model.train(), images).prefix is given
    images.prefix = given + 0.5  # compared once, not each time
    assert adapter(model.train(), images).prefix is images.prefix
    assert not torch.equal(adapter(model.eval(), images).prefix, images.prefix)
    with pytest.raises(WiringError, match="not what the hybrid's own prefix"):
        HybridAdapter()(model.train(), images)


def test_the_prefix_is_compared_without_autocast():
    """What is stored was computed in float32; under bfloat16 it is still the hybrid's own."""
    model, images = hybrid().train(), batch()
    images.prefix = model.run_prefix(images.images)
    with torch.autocast("cpu", torch.bfloat16):
        assert HybridAdapter()(model, images).logits.dtype == torch.bfloat16
        images.prefix = images.prefix + 0.5
        with pytest.raises(WiringError, match="not what the hybrid's own prefix"):
            HybridAdapter()(model, images)


def test_logits_that_training_leaves_out_are_missed_when_the_task_is_built():
    model, adapter = hybrid(), HybridAdapter(fields=["boundary"], suffix=False)
    with pytest.raises(WiringError, match=r"Classification reads logits .* provides only boundary"):
        DistillTask(model, adapter, Classification(), 0.5)
    teacher = LiveTeacher(hybrid(), HybridAdapter(fields=["boundary"]))
    comparison = Comparison(M2mKD(logit_weight=0.0, boundary_weight=1.0), "t", Weight(1.0, 1.0))
    images = batch(label_scale=1.0)
    losses = DistillTask(model, adapter, Classification(), 0.0, {"m": comparison}, {"t": teacher})(images, "loss")
    assert set(losses) == {"loss/m.boundary"}
    HybridAdapter(suffix=False).check(last := hybrid(2))
    DistillTask(last, HybridAdapter(suffix=False), Classification(), 0.5)  # it gives the logits itself


def test_without_the_suffix():
    model, adapter, images = hybrid(), HybridAdapter(fields=["boundary"], suffix=False), batch()
    assert adapter(model.train(), images).get("logits") is None
    assert adapter(model.eval(), images).logits.shape == (4, 5)


def test_losses_that_a_module_owes():
    router = dict(balance=dict(importance=0.5))
    model = hybrid(kind=VMoE, experts=3, moe_blocks="all", router=router)
    found = HybridAdapter()(model.train(), batch())
    assert set(found.losses) == {"importance"} and found.losses["importance"].requires_grad
    assert HybridAdapter()(hybrid().train(), batch()).get("losses") is None
    meta = VMoE(5, **META, experts=3, moe_blocks="all", router=router)  # frozen: it owes nothing
    frozen = Hybrid(meta, ViT(5, **META | dict(width=8)), 1, SPLITS, image_size=8).train()
    assert HybridAdapter()(frozen, batch()).get("losses") is None


def test_refused():
    with pytest.raises(ConfigError, match="suffix"):
        HybridAdapter(fields=["suffix"])
    with pytest.raises(WiringError, match="not a ViT"):
        HybridAdapter().check(ViT(5, **META))


def test_a_chain_of_modules():
    model, images = ViT(5, **META).eval(), batch()
    adapter = ChainAdapter(SPLITS)
    chain = adapter(model, images).check()
    assert chain.provides == adapter.provides and chain.num_elements == 3
    assert torch.equal(chain.logits, chain.boundary_2) and torch.equal(chain.y, images.y)
    calls = []
    model.norm.register_forward_hook(lambda *_: calls.append(1))
    adapter(model, images)
    assert len(calls) == 1  # the model is tried once, not with each batch
    experts = VMoE(5, **META, experts=3, moe_blocks="all", router=dict(balance=dict(z=1.0)))
    assert set(ChainAdapter(SPLITS)(experts, images).losses) == {"z"}
    assert chain.edge_index.tolist() == [[0, 1], [1, 2]] and chain.pos.tolist() == [[0, 0], [1, 0], [2, 0]]
    assert int(chain.importance.sum()) == sum(p.numel() for p in model.parameters())
    assert torch.equal(chain.boundary_2, model(images.images))
    assert torch.allclose(chain.x[1], torch.stack([chain.boundary_1.mean(), chain.boundary_1.std(correction=0)]))
    single = ChainAdapter([])(model, images)
    assert single.num_elements == 1 and single.edge_index.shape == (2, 0)


@pytest.mark.parametrize("adapter", [ChainAdapter(SPLITS), ExpertAdapter("tokens"), ExpertAdapter("experts")])
def test_what_describes_a_batch_is_not_stored(adapter):
    model = VMoE(5, **META, experts=3, moe_blocks="all").eval()
    with pytest.raises(ConfigError, match=r"(Chain|Expert)Adapter describes a whole batch.*store_outputs=False"):
        adapter.compact(adapter(model, batch()))
