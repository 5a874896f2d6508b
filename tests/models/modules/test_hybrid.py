"""Hybrids: logits are those of the composed plain modules, gradients reach the module alone, nothing else moves."""

import pytest
import torch

from structkd.errors import ConfigError, WiringError
from structkd.models import ConvNet, Hybrid, ModularView, Stitched, ViT

META = dict(width=16, depth=3, heads=2, image_size=8, patch_size=2)
META_SPLITS = ["blocks.1", "blocks.2"]
WIDE, NARROW = META | dict(depth=6), META | dict(width=8, depth=6)
SPLITS = ["blocks.2", "blocks.4"]


def vit_pair(index, sizes=NARROW, stitch="norm"):
    meta, source = ViT(5, **META), ViT(5, **sizes)
    return meta, source, Hybrid(meta, source, index, SPLITS, META_SPLITS, stitch, image_size=8)


def conv_pair(index):
    meta, source = ConvNet(5, channels=(4, 6, 8)), ConvNet(5, channels=(3, 6, 5), layers=2)
    return meta, source, Hybrid(meta, source, index, ["layer2", "layer3"], image_size=8)


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("stitch", ["norm", "linear"])
def test_logits_are_those_of_the_composed_modules(index, stitch):
    meta, source, hybrid = vit_pair(index, stitch=stitch)
    images = torch.randn(4, 3, 8, 8)
    outer, inner = ModularView(meta, META_SPLITS, image_size=8), ModularView(source, SPLITS, image_size=8)
    with torch.no_grad():
        x = outer.forward_range(images, 0, index)
        x = hybrid.post(inner.forward_range(hybrid.pre(x), index, index + 1))
        assert torch.equal(hybrid(images), outer.forward_range(x, index + 1))


@pytest.mark.parametrize("index", range(3))
def test_the_model_with_its_own_module_is_the_model(index):
    model, images = ViT(5, **META), torch.randn(2, 3, 8, 8)
    hybrid = Hybrid(model, model, index, META_SPLITS, stitch="none", image_size=8)
    with torch.no_grad():
        assert torch.equal(hybrid(images), model(images))


def test_what_the_pass_went_through():
    images = torch.randn(2, 3, 8, 8)
    for index in range(3):
        meta, _, hybrid = vit_pair(index)
        passed = hybrid.trace(images)
        with torch.no_grad():
            assert torch.equal(passed.logits, hybrid(images))
            assert torch.equal(passed.logits, hybrid(images, hybrid.run_prefix(images)))
        assert (passed.prefix is None) == (index == 0) and (passed.boundary is None) == (index == 2)
        if index:
            assert torch.equal(
                passed.prefix, ModularView(meta, META_SPLITS, image_size=8).forward_range(images, 0, index)
            )
            other = hybrid(images, torch.randn_like(passed.prefix))
            assert not torch.allclose(other, passed.logits)
        else:
            assert torch.equal(hybrid(images, torch.randn(2, 17, 16)), passed.logits)  # it takes images
        cut = hybrid.trace(images, suffix=False)
        assert (cut.logits is None) == (index < 2) and (index == 2 or torch.equal(cut.boundary, passed.boundary))


@pytest.mark.parametrize("pair", [vit_pair, conv_pair])
@pytest.mark.parametrize("index", range(3))
def test_frozen_parts_do_not_move_and_the_module_does(pair, index):
    *_, hybrid = pair(index)
    hybrid.train()
    assert not hybrid.prefix.training and not hybrid.suffix.training and hybrid.module.training
    before = {key: value.clone() for key, value in hybrid.state_dict().items()}
    optimizer = torch.optim.AdamW(hybrid.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        hybrid(torch.randn(4, 3, 8, 8)).logsumexp(1).sum().backward()
        optimizer.step()
    for name, parameter in hybrid.named_parameters():
        frozen = name.startswith(("prefix.", "suffix."))
        assert (parameter.grad is None) == frozen, name
    for key, value in hybrid.state_dict().items():  # buffers too: running means of batch norm
        frozen = key.startswith(("prefix.", "suffix."))
        # Attention ignores what is added to all keys, so a part of a bias may stay.
        assert torch.equal(value, before[key]) == frozen, key
    assert [key for key in before if key.startswith("module.")]


def test_a_module_without_a_frozen_weight_in_it():
    meta, source, hybrid = vit_pair(1)
    own = {id(p) for p in hybrid.module.parameters()}
    assert own == {id(p) for name, p in source.named_parameters() if name.startswith(("blocks.2.", "blocks.3."))}
    assert not own & {id(p) for p in meta.parameters()}
    keys = set(hybrid.state_dict())
    assert "module.blocks.2.norm1.weight" in keys and "prefix.patch_embed.proj.weight" in keys
    assert "suffix.head.weight" in keys and not any("blocks.1." in key for key in keys if not key.startswith("module."))


def test_a_module_that_is_frozen_itself():
    meta, source, _ = vit_pair(1)
    assert not meta.blocks[0].norm1.weight.requires_grad and meta.blocks[1].norm1.weight.requires_grad
    with pytest.raises(WiringError, match="Module 0 of ViT is frozen"):
        Hybrid(source, meta, 0, META_SPLITS, SPLITS, image_size=8)


def test_stitched_is_the_modules_and_their_stitches():
    torch.manual_seed(0)
    meta = ViT(5, **META)
    model = Stitched(ViT(5, **NARROW), meta, SPLITS, META_SPLITS, image_size=8)
    images = torch.randn(2, 3, 8, 8)
    view = ModularView(model.model, SPLITS, image_size=8)
    x = view.forward_range(images, 0, 1)
    for i in (1, 2):
        behind, before = model.joints[i - 1]
        x = before(behind(x))
        x = view.forward_range(x, i, i + 1)
    assert torch.equal(model(images), x)
    model(images).sum().backward()
    assert all(p.grad is not None for p in model.parameters()) and all(p.grad is None for p in meta.parameters())


@pytest.mark.parametrize(
    "error, words, build",
    [
        (ConfigError, "index=3", lambda: vit_pair(3)),
        (ConfigError, "stitch='glue'", lambda: vit_pair(0, stitch="glue")),
        (ConfigError, "equal widths, not 8 and 16", lambda: vit_pair(0, stitch="none")),
        (ConfigError, "has 3 modules, the other 2", lambda: Hybrid(ViT(5, **META), ViT(5, **WIDE), 0, ["blocks.2"],
                                                                   META_SPLITS, image_size=8)),
        (WiringError, "gives 5 logits, the other 6", lambda: Hybrid(ViT(5, **META), ViT(6, **WIDE), 0, SPLITS,
                                                                   META_SPLITS, image_size=8)),
        (WiringError, r"turn \(5, 16\) into \(17, 16\).*equally many", lambda: Hybrid(
            ViT(5, **META | dict(patch_size=4)), ViT(5, **WIDE), 1, SPLITS, META_SPLITS, image_size=8)),
    ],
)  # fmt: skip
def test_what_does_not_fit(error, words, build):
    with pytest.raises(error, match=words):
        build()
