import gc
import weakref

import pytest
import torch
from torch import nn
from torch_geometric.data import Batch

from structkd.adapters import TokenAdapter
from structkd.datasets import Images
from structkd.distillers import RKD, FitNet
from structkd.errors import ConfigError, DataError, WiringError
from structkd.models import ConvNet, ResNet, TimmModel, ViT

MAPS = {"middle": "layer1", "neck": "layer2"}


def batch(height=16, width=16, count=2, **fields):
    torch.manual_seed(0)
    images = torch.rand(count, 3, height, width)
    return Images(images=images, y=torch.arange(count), n_id=torch.arange(count) + 5, label_scale=0.5, **fields)


def conv_net(**arguments):
    torch.manual_seed(0)
    return ConvNet(4, (6, 8), **arguments)


def vit(**arguments):
    torch.manual_seed(0)
    return ViT(4, "nano", depth=2, patch_size=4, **{"image_size": 16, **arguments})


class Swapped(nn.Module):
    """Channels last in the middle, a part that does not run, one that gives no tensor."""

    def __init__(self):
        super().__init__()
        self.embed, self.last = nn.Conv2d(3, 5, 4, 4), nn.Identity()
        self.fc, self.idle, self.pair = nn.Linear(5, 4), nn.Identity(), Named()

    def forward(self, images):
        x = self.last(self.embed(images).permute(0, 2, 3, 1))
        self.pair(x)
        return self.fc(x.mean((1, 2)))


class Named(nn.Module):
    def forward(self, x):
        return {"x": x}


def test_reads_a_cnn():
    model, data = conv_net().eval(), batch()
    adapter = TokenAdapter(MAPS, {"embedding": "pool"}, classifier="fc")
    adapter.check(model)
    s = adapter(model, data)
    assert s.provides == adapter.provides - {"mask_map"}
    assert s.middle.shape == (2, 6, 16, 16) and s.neck.shape == (2, 8, 8, 8)
    assert torch.equal(s.embedding, s.neck.mean((2, 3))) and torch.equal(s.logits, model(data.images))
    assert torch.equal(s.y, data.y) and torch.equal(s.n_id, data.n_id)
    assert s.classifier_weight is model.fc.weight and s.classifier_bias is model.fc.bias


@pytest.mark.parametrize("pool, registers", [("class", 0), ("class", 3), ("mean", 0), ("mean", 2)])
def test_reads_a_transformer(pool, registers):
    model, data = vit(pool=pool, registers=registers, image_size=(16, 32)).eval(), batch(16, 32)
    prefix = model.num_prefix_tokens
    extra = {"prefix": {"others": "blocks.0"}} if prefix else {}
    extra |= {"vectors": {"token": "norm"}} if pool == "class" else {}
    adapter, seen = TokenAdapter({"neck": "blocks.0", "last": "norm"}, **extra), []
    model.blocks[0].register_forward_hook(lambda _m, _a, out: seen.append(out))
    s = adapter(model, data)
    assert s.neck.shape == s.last.shape == (2, 64, 4, 8)
    assert torch.equal(s.neck.flatten(2).transpose(1, 2), seen[0][:, prefix:])
    assert torch.equal(s.neck[1, :, 2, 5], seen[0][1, prefix + 2 * 8 + 5])
    if prefix:
        assert torch.equal(s.others, seen[0][:, :prefix])
    if pool == "class":
        assert torch.equal(model.head(s.token), s.logits)
    else:
        with pytest.raises(WiringError, match=r"'token' at 'norm' of ViT.*no class token; tap the pooling instead"):
            TokenAdapter(vectors={"token": "norm"})(model, data)


def test_a_person_knows_better_than_the_model():
    model, data = vit(registers=1), batch()
    model.num_prefix_tokens = None
    with pytest.raises(WiringError, match=r"'neck' at 'blocks\.1' of ViT.*\(2, 18, 64\); after 0 prefix tokens 18"):
        TokenAdapter({"neck": "blocks.1"})(model, data)
    s = TokenAdapter({"neck": "blocks.1"}, prefix_tokens=2, grid=[2, 8])(model, data)
    assert s.neck.shape == (2, 64, 2, 8)


def test_channels_last():
    model, data = Swapped(), batch(16, 16)
    s = TokenAdapter({"first": "embed", "second": "last"})(model, data)
    assert s.first.shape == (2, 5, 4, 4) and torch.equal(s.first, s.second)
    # As many channels as cells: only the model or a person can tell.
    model.embed, model.fc = nn.Conv2d(3, 4, 4, 4), nn.Linear(4, 4)
    read = {"first": "embed", "second": "last"}
    plain = TokenAdapter(read)(model, data)
    assert torch.equal(plain.second, plain.first.permute(0, 2, 3, 1))
    told = TokenAdapter(read, channels_last=["second"])(model, data)
    assert torch.equal(told.first, told.second)
    model.output_fmt = "NHWC"
    assert torch.equal(TokenAdapter({"second": "last"})(model, data).second, told.second)


@pytest.mark.parametrize("model, path, shape", [(conv_net(), "layer2", (8, 4, 8)), (vit(), "norm", (64, 2, 4))])
def test_tokens_as_rows(model, path, shape):
    data = batch(8, 16, token_mask=torch.tensor([[[1, 0], [1, 1]], [[0, 0], [0, 1]]]))
    adapter = TokenAdapter({"neck": path}, tokens="neck")
    s = adapter(model.eval(), data)
    assert s.provides == adapter.provides and s.neck.shape == (2, *shape)
    count = shape[1] * shape[2]
    assert s.x.shape == (2 * count, shape[0]) and s.batch.bincount().tolist() == [count, count]
    assert torch.equal(s.image_id, data.n_id)
    for i in (0, 3, count, 2 * count - 1):
        row, column = s.pos[i].long().tolist()
        assert torch.equal(s.x[i], s.neck[s.batch[i], :, row, column])
        assert int(s.n_id[i]) == (5 + i // count) * count + i % count
        expected = data.token_mask[s.batch[i], row * 2 // shape[1], column * 2 // shape[2]]
        assert bool(s.mask[i]) == bool(expected)
    assert s.mask_map.dtype == torch.bool and torch.equal(s.mask_map, data.token_mask.bool())
    s.check()


def test_rows_keep_the_ids_of_their_images():
    """Beside the rows, samples are known by `image_id`; batching and a batch without ids do no harm."""
    adapter, model = TokenAdapter({"neck": "norm"}, {"embedding": "pool"}, tokens="neck"), vit().eval()
    s = adapter(model, batch())
    assert s.image_id.tolist() == [5, 6] and len(s.embedding) == len(s.y) == 2 and len(s.n_id) == 32
    assert torch.equal(s.n_id.div(16, rounding_mode="floor"), s.image_id[s.batch])
    assert Batch.from_data_list([s, s]).image_id.tolist() == [5, 6, 5, 6]
    unknown = adapter(model, Images(images=torch.rand(2, 3, 16, 16)))
    assert unknown.image_id.tolist() == [0, 1] and adapter.compact(unknown).n_id.tolist() == [0, 1]
    assert "image_id" not in TokenAdapter({"neck": "norm"}).provides
    with pytest.raises(ConfigError, match="fills the field image_id twice"):
        TokenAdapter({"neck": "norm", "image_id": "norm"}, tokens="neck")


def test_what_is_stored_has_a_row_an_image():
    mask = torch.tensor([[[1, 0], [1, 1]], [[0, 0], [0, 1]]])
    adapter, data = TokenAdapter({"neck": "norm"}, tokens="neck"), batch(8, 16, token_mask=mask)
    s = adapter(vit().eval(), data)
    kept = adapter.compact(s)
    assert torch.equal(kept.n_id, data.n_id) and kept.provides == {"logits", "y", "n_id", "neck", "mask_map"}
    again = adapter.expand(kept)
    assert again.provides == s.provides and all(torch.equal(again[name], s[name]) for name in s.provides)
    second = adapter.expand(kept.select(torch.tensor([1])))
    assert torch.equal(second.x, s.x[s.batch == 1]) and torch.equal(second.n_id, s.n_id[s.batch == 1])
    assert second.image_id.tolist() == [6]
    plain = TokenAdapter({"neck": "norm"})(vit().eval(), data)
    assert TokenAdapter().compact(plain) is plain and TokenAdapter().expand(plain) is plain


def test_fewer_fields_in_the_batch():
    s = TokenAdapter()(conv_net(), Images(images=torch.rand(1, 3, 8, 8)))
    assert s.provides == {"logits"}


def test_gradients_reach_the_layers_before_a_tap():
    for model, path, early in ((conv_net(), "layer2", "layer1"), (vit(registers=2), "blocks.1", "blocks.0")):
        s = TokenAdapter({"neck": path}, tokens="neck")(model, batch())
        (s.neck.square().sum() + s.x.sum()).backward()
        assert all(bool(p.grad.any()) for p in model.get_submodule(early).parameters() if p.dim() > 1)
        assert all(p.grad is None for p in list(model.children())[-1].parameters())


def test_leaves_nothing_behind():
    model, data = conv_net().eval(), batch()
    adapter = TokenAdapter(MAPS, {"embedding": "pool"}, tokens="neck")
    with torch.no_grad():
        first, second = adapter(model, data), adapter(model, data)
    assert torch.equal(first.neck, second.neck) and not first.neck.requires_grad
    assert first.neck.data_ptr() != second.neck.data_ptr()
    assert not any(module._forward_hooks for module in model.modules())
    held = weakref.ref(first.neck)
    del first
    gc.collect()
    assert held() is None
    with pytest.raises(RuntimeError):
        adapter(model, batch(count=2).update({"images": torch.rand(2, 5, 8, 8)}))
    assert not any(module._forward_hooks for module in model.modules())


def test_losses_that_a_model_owes():
    class Owing(nn.Module):
        def forward(self, images):
            return {"logits": images.mean((2, 3)), "losses": {"balance": images.sum()}}

    assert set(TokenAdapter()(Owing(), batch()).losses) == {"balance"}


@pytest.mark.parametrize(
    "adapter, message",
    [
        (TokenAdapter({"neck": "layer9"}), "'neck' points at 'layer9', but ConvNet has no submodule.*layer"),
        (TokenAdapter(vectors={"v": "poll"}), "'v' points at 'poll'.*pool"),
        (TokenAdapter(classifier="fx"), "'classifier' points at 'fx'"),
        (TokenAdapter(classifier="pool"), "classifier at 'pool' of ConvNet is GlobalPool"),
    ],
)
def test_paths_are_checked_before_any_pass(adapter, message):
    with pytest.raises(WiringError, match=message):
        adapter.check(conv_net())


@pytest.mark.parametrize(
    "adapter, message",
    [
        (TokenAdapter({"neck": "idle"}), "'neck' at 'idle' of Swapped: the module did not run"),
        (TokenAdapter({"neck": "pair"}), "'neck' at 'pair' of Swapped: the module gave no tensor"),
        (TokenAdapter({"neck": "fc"}), r"'neck' at 'fc' of Swapped: .*shape \(2, 4\); a map is read from"),
        (TokenAdapter(vectors={"v": "embed"}), r"'v' at 'embed' of Swapped: .*\(2, 5, 4, 4\).*Tap the pooling"),
        (TokenAdapter(prefix={"v": "embed"}), r"'v' at 'embed' of Swapped: .*expected tokens"),
    ],
)
def test_outputs_that_cannot_be_read(adapter, message):
    model = Swapped()
    adapter.check(model)
    with pytest.raises(WiringError, match=message):
        adapter(model, batch())


def test_no_logits():
    with pytest.raises(WiringError, match="Named returned no logits"):
        TokenAdapter()(Named(), batch())


def test_mask_of_another_batch():
    with pytest.raises(DataError, match=r"token_mask has shape \(1, 4, 4\); expected \[B=2, h, w\]"):
        TokenAdapter()(conv_net(), batch(token_mask=torch.ones(1, 4, 4)))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"maps": {"y": "layer1"}}, "fills the field y twice"),
        ({"maps": {"a": "layer1"}, "vectors": {"a": "pool"}}, "fills the field a twice"),
        ({"maps": {"x": "layer1"}, "tokens": "x"}, "fills the field x twice"),
        ({"maps": {"a": "layer1"}, "tokens": "b"}, "tokens names .'b'., but the maps are .'a'."),
        ({"maps": {"a": "layer1"}, "channels_last": ["b"]}, "channels_last names .'b'."),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        TokenAdapter(**arguments)


def test_distillers_read_it():
    """A CNN's map and a transformer's tokens, on different grids."""
    data = batch()
    teacher = TokenAdapter({"neck": "layer2"})(ResNet(4, 8), data)
    student = TokenAdapter({"neck": "blocks.1"})(vit(), data)
    assert teacher.neck.shape == (2, 32, 8, 8) and student.neck.shape == (2, 64, 4, 4)
    losses = FitNet(64, 32)(student, teacher.detach()) | RKD(field="neck")(student, teacher.detach())
    assert all(bool(loss.isfinite()) and float(loss.detach()) > 0 for loss in losses.values())


def timm_model(name, **options):
    try:
        return TimmModel(name, 4, options=options).eval()
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    "name, options, path, shape",
    [
        ("vit_tiny_patch16_224", {"img_size": (32, 64), "patch_size": 8}, "blocks.11", (192, 4, 8)),
        ("deit_tiny_distilled_patch16_224", {"img_size": 32, "patch_size": 8}, "norm", (192, 4, 4)),
        ("vit_small_patch14_reg4_dinov2", {"img_size": 42}, "blocks.0", (384, 3, 3)),
        ("swin_tiny_patch4_window7_224", {"img_size": 64}, "layers.1", (192, 8, 8)),
        ("convnext_atto", {}, "stages.2", (160, 4, 4)),
    ],
)
def test_models_of_timm(name, options, path, shape):
    model = timm_model(name, **options)
    size = options.get("img_size", 64)
    height, width = size if isinstance(size, tuple) else (size, size)
    with torch.no_grad():
        s = TokenAdapter({"neck": f"model.{path}"})(model, batch(height, width, 1))
    assert s.neck.shape == (1, *shape)


@pytest.mark.parametrize("name", ["vit_medium_patch16_reg4_gap_256", "vit_medium_patch16_rope_reg1_gap_256"])
def test_registers_of_timm_are_no_class_token(name):
    with pytest.raises(WiringError, match="no class token"), torch.no_grad():
        TokenAdapter(vectors={"v": "model.blocks.0"})(timm_model(name, img_size=64), batch(64, 64, 1))


@pytest.mark.parametrize("name, channels", [("cait_xxs24_224", 192), ("xcit_nano_12_p16_224", 128)])
def test_blocks_of_timm_that_hold_no_class_token_yet(name, channels):
    model, size = timm_model(name, **({"img_size": 64} if "cait" in name else {})), 64
    with torch.no_grad():
        s = TokenAdapter({"neck": "model.blocks.0"}, prefix_tokens=0)(model, batch(size, size, 1))
    assert s.neck.shape == (1, channels, 4, 4)
