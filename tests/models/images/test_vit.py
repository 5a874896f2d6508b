import pytest
import torch

from structkd.errors import ConfigError, DataError
from structkd.models import ViT
from structkd.models.images.vit import DropPath


def test_parameters_of_the_published_tiny_and_small(count):
    published = dict(image_size=224, patch_size=16)
    assert count(ViT, 1000, "tiny", **published) == 5_717_416
    assert count(ViT, 1000, "small", **published) == 22_050_664
    assert count(ViT, 1000, "base", **published) == 86_567_656


@pytest.mark.parametrize("preset", ["nano", "mini", "tiny"])
@pytest.mark.parametrize("size, patch", [(8, 1), (32, 4), (64, 8), ((32, 64), 4)])
def test_patches_by_default(preset, size, patch):
    with torch.device("meta"):
        model = ViT(10, preset, image_size=size)
    rows, columns = (size, size) if isinstance(size, int) else size
    assert model.patch_size == patch and model.grid == (rows // patch, columns // patch)


def test_width_depth_and_heads_in_place_of_the_preset():
    with torch.device("meta"):
        model = ViT(10, "tiny", width=96, depth=3, heads=4)
    assert len(model.blocks) == 3 and model.head.in_features == 96 and model.blocks[0].attn.heads == 4


@pytest.mark.parametrize("pool, registers, prefix", [("class", 0, 1), ("class", 3, 4), ("mean", 0, 0), ("mean", 2, 2)])
def test_prefix_tokens(pool, registers, prefix):
    model = ViT(4, "nano", depth=1, pool=pool, registers=registers).eval()
    assert model.num_prefix_tokens == prefix and (model.cls_token is None) == (pool == "mean")
    assert model.has_class_token is (pool == "class")
    seen = {}
    for name in ("norm", "pool"):
        model.get_submodule(name).register_forward_hook(lambda _m, _a, out, name=name: seen.update({name: out}))
    with torch.no_grad():
        model(torch.rand(2, 3, 32, 32))
    assert seen["norm"].shape == (2, prefix + 64, 64)
    expected = seen["norm"][:, 0] if pool == "class" else seen["norm"][:, prefix:].mean(1)
    assert torch.equal(seen["pool"], expected)


@pytest.mark.parametrize("positions", ["learned", "sincos"])
def test_positions_tell_patches_apart(positions):
    torch.manual_seed(0)
    model = ViT(4, "nano", depth=2, positions=positions, pool="mean").eval()
    x = torch.rand(1, 3, 32, 32)
    swapped = torch.cat([x[..., 16:], x[..., :16]], -1)
    with torch.no_grad():
        assert not torch.allclose(model(x), model(swapped), atol=1e-7)
        if model.pos_embed is not None:
            model.pos_embed.zero_()
            assert torch.allclose(model(x), model(swapped), atol=1e-6)


def test_other_image_sizes_get_interpolated_positions():
    model = ViT(4, "nano", depth=1).eval()
    with torch.no_grad():
        model.pos_embed.zero_()
        patches = model.pos_embed[:, 1:].unflatten(1, (8, 8))
        patches += 0.3
        own, places = model._positions(torch.zeros(1, 64, 4, 6))
    assert own.shape == (1, 64) and places.shape == (24, 64) and torch.allclose(places, torch.tensor(0.3))
    with pytest.raises(DataError, match=r"\(1, 3, 30, 32\) are not made of whole 4-pixel patches"):
        model(torch.rand(1, 3, 30, 32))


def test_fixed_positions_take_no_weights_and_follow_the_image():
    torch.manual_seed(0)
    small, large = (ViT(4, "nano", depth=1, patch_size=4, positions="sincos", image_size=s).eval() for s in (16, 32))
    large.load_state_dict(small.state_dict())
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(small(images), large(images))


def test_drop_path_leaves_out_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    layer, x = DropPath(0.25), torch.ones(4000, 2, 3)
    out = layer(x)
    assert {round(float(v), 4) for v in out.unique()} == {0.0, 1.3333}
    assert torch.equal(out.amin((1, 2)), out.amax((1, 2)))
    assert float(out.mean()) == pytest.approx(1, abs=0.03)
    assert layer.eval()(x) is x


def test_drop_path_grows_with_depth():
    model = ViT(4, "nano", depth=3, drop_path=0.2)
    assert [block.drop_path.rate for block in model.blocks] == pytest.approx([0, 0.1, 0.2])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"preset": "huge"}, "preset='huge' is unknown"),
        ({"pool": "max"}, "pool='max'.*class, mean"),
        ({"positions": "rotary"}, "positions='rotary'"),
        ({"drop_path": 1.0}, r"drop_path=1\.0: expected"),
        ({"registers": -1}, "registers=-1"),
        ({"heads": 5}, "width=192 is not divisible by 5 heads"),
        ({"image_size": 30, "patch_size": 4}, "image_size=30 is not made of whole patches of 4"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        ViT(2, **arguments)


def test_weights_of_timm_give_the_same_logits(timm):
    options = dict(img_size=(32, 48), patch_size=8)
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=5, **options).eval()
    ours = ViT(5, "tiny", image_size=(32, 48), patch_size=8).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        assert torch.allclose(ours(x), theirs(x), atol=1e-5)
