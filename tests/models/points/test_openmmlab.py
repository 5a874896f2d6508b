"""Checkpoints with the names and shapes that mmdet3d publishes; the weights are random."""

import itertools

import pytest
import torch
from torch import nn

from structkd.errors import ConfigError, DataError
from structkd.models.points import SECOND, PointPillars, PointRCNN
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


def _point_layers(name, channels, kernel, bias=False, norm=True, layer="layer"):
    shapes = {}
    for i, (before, after) in enumerate(itertools.pairwise(channels)):
        shapes[f"{name}.{layer}{i}.conv.weight"] = (after, before, *kernel)
        shapes |= {f"{name}.{layer}{i}.conv.bias": (after,)} if bias else {}
        shapes |= _norm(f"{name}.{layer}{i}.bn", after) if norm else {}
    return shapes


def point_rcnn(classes=3):
    """point-rcnn_8xb2_kitti-3d-3class."""
    shapes, before = {}, 1
    small, large = [(16, 16, 32), (64, 64, 128), (128, 196, 256), (256, 256, 512)], [(32, 32, 64), (64, 96, 128)]
    for level, scales in enumerate(zip(small, [*large, (128, 196, 256), (256, 384, 512)])):
        for scale, channels in enumerate(scales):
            name = f"backbone.SA_modules.{level}.mlps.{scale}"
            shapes |= _point_layers(name, (3 + before, *channels), (1, 1), bias=True)
        before = sum(channels[-1] for channels in scales)
    for level, channels in enumerate([(1536, 512, 512), (768, 512, 512), (608, 256, 256), (257, 128, 128)]):
        shapes |= _point_layers(f"neck.FP_modules.{level}.mlps", channels, (1, 1))
    for name, size in (("rpn_head.cls_layers", classes), ("rpn_head.reg_layers", 8)):
        shapes |= {f"{name}.0.weight": (256, 128), f"{name}.3.weight": (256, 256), f"{name}.6.weight": (size, 256)}
        shapes |= _norm(f"{name}.1", 256) | _norm(f"{name}.4", 256) | {f"{name}.6.bias": (size,)}
    head = "roi_head.bbox_head"
    shapes |= _point_layers(f"{head}.xyz_up_layer", (5, 128, 128), (1, 1), bias=True, norm=False, layer="")
    shapes |= {f"{head}.merge_down_layer.conv.weight": (128, 256, 1, 1), f"{head}.merge_down_layer.conv.bias": (128,)}
    for level, channels in enumerate([(131, 128, 128, 128), (131, 128, 128, 256), (259, 256, 256, 512)]):
        shapes |= _point_layers(f"{head}.SA_modules.{level}.mlps.0", channels, (1, 1))
    for name, size in (("cls", 1), ("reg", 7)):
        shapes |= _point_layers(f"{head}.{name}_convs", (512, 256, 256), (1,))
        shapes |= {f"{head}.conv_{name}.weight": (size, 256, 1), f"{head}.conv_{name}.bias": (size,)}
    return shapes


def _model(kind):
    return kind() if kind is PointRCNN else kind(voxelization="hard")


def _checkpoint(shapes, **meta):
    state = {name: torch.randn(shape) if shape else torch.tensor(7) for name, shape in shapes.items()}
    state |= {name: value.abs() for name, value in state.items() if name.endswith("running_var")}
    return {"state_dict": state, "meta": meta}


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [(PointPillars, pointpillars()), (SECOND, second()), (SECOND, second(1)), (PointRCNN, point_rcnn())],
)
def test_published_names_and_shapes(kind, shapes, tmp_path):
    checkpoint = _checkpoint(shapes)
    torch.save(checkpoint, tmp_path / "epoch_80.pth")
    model = _model(kind)
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


@pytest.mark.parametrize(("kind", "width"), [(PointPillars, 0.5), (SECOND, 0.5), (PointRCNN, 1 / 2.8)])
def test_ours_goes_there_and_back(kind, width):
    ours, other = kind(width=width), kind(width=width)
    with torch.no_grad():
        for value in (*ours.parameters(), *ours.buffers()):
            value.add_(torch.arange(value.numel()).view(value.shape).to(value.dtype))
    load_openmmlab(other, to_openmmlab(ours))
    again = other.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in ours.state_dict().items())


def test_point_rcnn_classes_are_put_in_order():
    kitti, ours = ("Pedestrian", "Cyclist", "Car"), ("Car", "Pedestrian", "Cyclist")
    checkpoint = _checkpoint(point_rcnn())
    same, other = PointRCNN(kitti), PointRCNN(ours)
    load_openmmlab(same, checkpoint)
    load_openmmlab(other, checkpoint)
    x = torch.randn(5, 128)
    (a, a_codes), (b, b_codes) = same.point_head.eval()(x), other.point_head.eval()(x)
    torch.testing.assert_close(b, a[:, [2, 0, 1]])
    torch.testing.assert_close(b_codes, a_codes)
    assert torch.equal(other.point_head.mean_sizes, same.point_head.mean_sizes[[2, 0, 1]])
    # As published in the model zoo, and noted there.
    load_openmmlab(other, {**checkpoint, "meta": {"CLASSES": ours}})
    torch.testing.assert_close(other.point_head(x)[0], a)


def test_point_rcnn_layers_go_where_they_belong():
    """Layers of equal shape that a wrong name would exchange."""
    state, model = _checkpoint(point_rcnn())["state_dict"], PointRCNN()
    load_openmmlab(model, state)
    for ours, theirs in {
        "backbone.down.3.mlps.0.lins.1": "backbone.SA_modules.3.mlps.0.layer1.conv",
        "backbone.down.2.mlps.1.norms.2": "backbone.SA_modules.2.mlps.1.layer2.bn",
        "backbone.up.0.mlp.lins.0": "neck.FP_modules.0.mlps.layer0.conv",
        "point_head.cls_layers.lins.1": "rpn_head.cls_layers.3",
        "point_head.box_layers.norms.1": "rpn_head.reg_layers.4",
        "point_head.box": "rpn_head.reg_layers.6",
        "roi_head.lift.lins.1": "roi_head.bbox_head.xyz_up_layer.1.conv",
        "roi_head.merge.lins.0": "roi_head.bbox_head.merge_down_layer.conv",
        "roi_head.down.1.mlps.0.lins.0": "roi_head.bbox_head.SA_modules.1.mlps.0.layer0.conv",
        "roi_head.globally.mlp.lins.2": "roi_head.bbox_head.SA_modules.2.mlps.0.layer2.conv",
        "roi_head.cls_layers.lins.0": "roi_head.bbox_head.cls_convs.layer0.conv",
        "roi_head.box_layers.lins.0": "roi_head.bbox_head.reg_convs.layer0.conv",
        "roi_head.box": "roi_head.bbox_head.conv_reg",
    }.items():
        weight = model.get_submodule(ours).weight
        assert torch.equal(weight, state[f"{theirs}.weight"].view(weight.shape)), ours


def test_mean_sizes_of_the_checkpoints_config():
    """The config of mmdet3d 1.1 and later has the sizes of Car, Pedestrian, Cyclist for Pedestrian, Cyclist, Car."""
    text = "coder=dict(use_mean_size=True,\n mean_size=[[3.9, 1.6, 1.56], [0.8, 0.6, 1.73], [1.76, 0.6,\n 1.73]]))"
    kitti, ours = ("Pedestrian", "Cyclist", "Car"), ("Car", "Pedestrian", "Cyclist")
    checkpoint = _checkpoint(point_rcnn(), cfg=text, dataset_meta={"classes": kitti})
    sizes = {"Car": (1.76, 0.6, 1.73), "Pedestrian": (3.9, 1.6, 1.56), "Cyclist": (0.8, 0.6, 1.73)}
    model = PointRCNN(ours)
    before = model.point_head.cls.weight.clone()
    with pytest.raises(DataError) as error:
        load_openmmlab(model, checkpoint)
    assert f"mean_sizes={sizes}" in str(error.value)
    assert torch.equal(model.point_head.cls.weight, before)
    load_openmmlab(PointRCNN(ours, mean_sizes=sizes), checkpoint)
    load_openmmlab(model, checkpoint["state_dict"])
    load_openmmlab(model, {**checkpoint, "meta": {"config": text, "CLASSES": ours}})
    with pytest.raises(DataError, match="other mean sizes"):
        load_openmmlab(model, {**checkpoint, "meta": {"cfg": "mean_size': ((1, 2, 3), )"}})


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


def test_what_does_not_fit_point_rcnn_is_listed():
    state = _checkpoint(point_rcnn())["state_dict"]
    del state["neck.FP_modules.3.mlps.layer1.conv.weight"]
    state["backbone.SA_modules.4.mlps.0.layer0.conv.weight"] = torch.zeros(1)
    # As of a linear layer, and with the class of the background.
    state["roi_head.bbox_head.conv_cls.weight"] = torch.zeros(1, 256)
    state["rpn_head.cls_layers.6.bias"] = torch.zeros(4)
    with pytest.raises(DataError) as error:
        load_openmmlab(PointRCNN(), state)
    assert "missing: neck.FP_modules.3.mlps.layer1.conv.weight." in str(error.value)
    assert "unexpected: backbone.SA_modules.4.mlps.0.layer0.conv.weight." in str(error.value)
    assert "conv_cls.weight is (1, 256), expected (1, 256, 1)" in str(error.value)
    assert "rpn_head.cls_layers.6.bias is (4,), expected (3,)" in str(error.value)


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
