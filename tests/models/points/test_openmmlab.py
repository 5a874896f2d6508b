"""Checkpoints with the names and shapes that mmdet3d publishes; the weights are random."""

import pytest
import torch
from torch import nn

from structkd.errors import ConfigError, DataError
from structkd.models.points import SECOND, PointPillars
from structkd.models.points.openmmlab import load_openmmlab, to_openmmlab

NORM = {"weight": (), "bias": (), "running_mean": (), "running_var": ()}


def _norm(name, channels):
    return {f"{name}.{part}": (channels,) for part in NORM} | {f"{name}.num_batches_tracked": ()}


def _backbone(before, blocks):
    shapes = {}
    for block, (layers, channels) in enumerate(blocks):
        for layer in range(layers + 1):
            shapes[f"backbone.blocks.{block}.{3 * layer}.weight"] = (channels, before, 3, 3)
            shapes |= _norm(f"backbone.blocks.{block}.{3 * layer + 1}", channels)
            before = channels
    return shapes


def _neck(levels):
    shapes = {}
    for level, (before, after, stride) in enumerate(levels):
        shapes[f"neck.deblocks.{level}.0.weight"] = (before, after, stride, stride)
        shapes |= _norm(f"neck.deblocks.{level}.1", after)
    return shapes


def _head(channels, classes=3):
    sizes = {"conv_cls": 2 * classes**2, "conv_reg": 14 * classes, "conv_dir_cls": 4 * classes}
    weights = {f"bbox_head.{name}.weight": (size, channels, 1, 1) for name, size in sizes.items()}
    return weights | {f"bbox_head.{name}.bias": (size,) for name, size in sizes.items()}


def pointpillars():
    """pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class."""
    return {
        "voxel_encoder.pfn_layers.0.linear.weight": (64, 10),
        **_norm("voxel_encoder.pfn_layers.0.norm", 64),
        **_backbone(64, [(3, 64), (5, 128), (5, 256)]),
        **_neck([(64, 128, 1), (128, 128, 2), (256, 128, 4)]),
        **_head(384),
    }


def second(spconv=2):
    """second_hv_secfpn_8xb6-80e_kitti-3d-3class."""
    layers = {"conv_input": (4, 16), "encoder_layers.encoder_layer1.0": (16, 16)}
    for stage, (before, after) in {2: (16, 32), 3: (32, 64), 4: (64, 64)}.items():
        for layer in range(3):
            layers[f"encoder_layers.encoder_layer{stage}.{layer}"] = (before if layer == 0 else after, after)
    shapes = {}
    for name, (before, after) in {**layers, "conv_out": (64, 128)}.items():
        kernel = (3, 1, 1) if name == "conv_out" else (3, 3, 3)
        weight = (after, *kernel, before) if spconv == 2 else (*kernel, before, after)
        shapes[f"middle_encoder.{name}.0.weight"] = weight
        shapes |= _norm(f"middle_encoder.{name}.1", after)
    head = _neck([(128, 256, 1), (256, 256, 2)]) | _head(512)
    return shapes | _backbone(256, [(5, 128), (5, 256)]) | head


def _checkpoint(shapes, **meta):
    state = {name: torch.randn(shape) if shape else torch.tensor(7) for name, shape in shapes.items()}
    return {"state_dict": state, "meta": meta}


@pytest.mark.parametrize(("kind", "shapes"), [(PointPillars, pointpillars()), (SECOND, second()), (SECOND, second(1))])
def test_published_names_and_shapes(kind, shapes, tmp_path):
    checkpoint = _checkpoint(shapes)
    torch.save(checkpoint, tmp_path / "epoch_80.pth")
    model = kind(voxelization="hard")
    load_openmmlab(model, tmp_path / "epoch_80.pth")
    layout = "spconv1" if shapes.get("middle_encoder.conv_input.0.weight", ())[-1:] == (16,) else "spconv2"
    again = to_openmmlab(model, layout=layout)
    assert set(again) == set(shapes)
    for name, value in checkpoint["state_dict"].items():
        assert torch.equal(value, again[name]), name


def test_classes_are_put_in_order():
    """The same map, read by a head in the checkpoint's order and by one in the model's."""
    kitti, ours = ("Pedestrian", "Cyclist", "Car"), ("Car", "Pedestrian", "Cyclist")
    state = _checkpoint(pointpillars())
    same, other = PointPillars(kitti), PointPillars(ours)
    load_openmmlab(same, state)
    load_openmmlab(other, {**state, "meta": {"dataset_meta": {"classes": kitti}}})
    x = torch.randn(1, 384, 2, 2)
    a, b = same.head.eval()(x), other.head.eval()(x)
    kinds = [4, 5, 0, 1, 2, 3]
    torch.testing.assert_close(b.logits, a.logits[:, kinds][:, :, [2, 0, 1]])
    torch.testing.assert_close(b.box_map, a.box_map[:, kinds])
    torch.testing.assert_close(b.direction, a.direction[:, kinds])
    assert torch.equal(other.head.grid.sizes, same.head.grid.sizes[[2, 0, 1]])


def test_one_class():
    model = PointPillars(("Car",))
    shapes = {name: shape for name, shape in pointpillars().items() if not name.startswith("bbox_head")}
    load_openmmlab(model, _checkpoint(shapes | _head(384, 1), CLASSES=("Car",)))
    with pytest.raises(DataError, match="classes are Van, the model's Car"):
        load_openmmlab(model, _checkpoint(shapes | _head(384, 1), CLASSES=("Van",)))


def test_what_does_not_fit_is_listed():
    model = PointPillars()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = _checkpoint(pointpillars())["state_dict"]
    del state["neck.deblocks.1.0.weight"]
    state["rpn_head.conv.weight"] = torch.zeros(1)
    state["bbox_head.conv_cls.bias"] = torch.zeros(20)
    with pytest.raises(DataError) as error:
        load_openmmlab(model, state)
    assert "missing: neck.deblocks.1.0.weight." in str(error.value)
    assert "unexpected: rpn_head.conv.weight." in str(error.value)
    assert "bbox_head.conv_cls.bias is (20,), expected (18,)" in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    wrong = _checkpoint(second())["state_dict"] | {"middle_encoder.conv_out.0.weight": torch.zeros(9, 3, 1, 1, 64)}
    with pytest.raises(DataError, match="fits neither layout"):
        load_openmmlab(SECOND(), wrong)


def test_old_batch_norm_counts_no_batches():
    state = _checkpoint(pointpillars())["state_dict"]
    load_openmmlab(PointPillars(), {name: value for name, value in state.items() if "num_batches" not in name})


def test_models_without_a_counterpart(tmp_path):
    with pytest.raises(ConfigError, match="no counterpart of this PointPillars"):
        load_openmmlab(PointPillars(head="center"), {})
    with pytest.raises(ConfigError, match="'spconv1' or 'spconv2'"):
        to_openmmlab(PointPillars(), layout="spconv3")
    torch.save({"state_dict": {}, "meta": nn.Linear(1, 1)}, tmp_path / "own.pth")
    with pytest.raises(DataError, match="holds more than tensors"):
        load_openmmlab(PointPillars(), tmp_path / "own.pth")
