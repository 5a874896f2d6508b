"""The Python side of mmcv-lite on these operators: what mmdet and mmdet3d call."""

import pytest
import torch

pytest.importorskip("mmcv", reason="mmcv-lite comes with the extra mmdet3d")


@pytest.fixture(scope="module")
def ops():
    import mmcv_ops

    if mmcv_ops.install().source != "mmcv_ops":
        pytest.skip("a compiled mmcv is installed, and used")
    import mmcv.ops

    return mmcv.ops


def cloud(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 4


def test_all_that_mmdet3d_imports_is_there(ops):
    for name in (
        "SparseConv3d",
        "DeformConv2d",
        "batched_nms",
        "PointsSampler",
        "RoIPointPool3d",
        "diff_iou_rotated_3d",
    ):
        assert hasattr(ops, name)


def test_the_list_of_functions_is_that_of_the_installed_mmcv():
    import importlib.util
    import re
    from pathlib import Path

    from mmcv_ops.names import USED_BY

    folder = Path(importlib.util.find_spec("mmcv").origin).parent / "ops"
    asked = {}
    for file in sorted(folder.glob("*.py")):
        for names in re.findall(r"load_ext\(\s*'_ext',\s*\[(.*?)\]", file.read_text(), re.DOTALL):
            for name in re.findall(r"'(\w+)'", names):
                asked.setdefault(name, file.stem)
    assert asked == USED_BY


def test_suppression(ops):
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 40]])
    scores = torch.tensor([0.8, 0.9, 0.7])
    dets, keep = ops.nms(boxes, scores, 0.5)
    assert keep.tolist() == [1, 2] and torch.equal(dets[:, :4], boxes[keep])
    dets, keep = ops.batched_nms(boxes, scores, torch.tensor([0, 1, 0]), dict(type="nms", iou_threshold=0.5))
    assert keep.tolist() == [1, 0, 2]
    dets, keep = ops.soft_nms(boxes, scores, 0.5, method="linear")
    assert keep.tolist() == [1, 2, 0] and dets[2, 4] < 0.2
    turned = torch.tensor([[0, 0, 4, 2, 0.1], [0, 0, 4, 2, 0.2], [9, 9, 4, 2, 0]])
    assert ops.nms_rotated(turned, scores, 0.5)[1].tolist() == [1, 2]
    upright = torch.cat([turned[:, :2], torch.zeros(3, 1), turned[:, 2:4], torch.ones(3, 1), turned[:, 4:]], 1)
    assert ops.nms3d(upright, scores, 0.5).tolist() == [1, 2]
    assert ops.nms3d_normal(upright, scores, 0.5).tolist() == [1, 2]
    assert ops.box_iou_rotated(turned, turned).diagonal().allclose(torch.ones(3))
    assert ops.boxes_iou3d(upright, upright).diagonal().allclose(torch.ones(3))


def test_voxels_and_scatter(ops):
    points = cloud(200, 4)
    voxels, coors, count = ops.Voxelization([1, 1, 4], [0, 0, 0, 4, 4, 4], 5, 10)(points)
    assert voxels.shape == (10, 5, 4) and coors.shape == (10, 3) and count.max() == 5
    coors = ops.Voxelization([1, 1, 4], [0, 0, 0, 4, 4, 4], -1)(points)
    batch = torch.cat([torch.zeros(200, 1).int(), coors], 1)
    leaf = points.double().requires_grad_()
    for mean in (False, True):
        feats, cells = ops.DynamicScatter([1, 1, 4], [0, 0, 0, 4, 4, 4], mean)(leaf, batch)
        assert feats.shape == (16, 4) and cells.shape == (16, 4)
        (grad,) = torch.autograd.grad(feats.sum(), leaf)
        torch.testing.assert_close(grad.sum(), feats.new_tensor(64.0))


def test_point_sampling_and_grouping(ops):
    xyz, features = cloud(2, 64, 3), cloud(2, 5, 64, seed=1).requires_grad_()
    chosen = ops.PointsSampler([16, 8], ["D-FPS", "F-FPS"], [32, -1])(xyz, features.detach())
    assert chosen.shape == (2, 24) and chosen.dtype == torch.int32
    centre = ops.gather_points(xyz.transpose(1, 2).contiguous(), chosen).transpose(1, 2).contiguous()
    for radius in (1.0, None):
        grouped = ops.QueryAndGroup(radius, 8)(xyz, centre, features)
        assert grouped.shape == (2, 8, 24, 8)
    grouped.sum().backward()
    assert features.grad.sum() == grouped[:, 3:].numel()
    distance, index = ops.three_nn(xyz, centre)
    up = ops.three_interpolate(cloud(2, 5, 24), index, 1 / (distance + 1e-8))
    assert up.shape == (2, 5, 64)


def test_points_in_boxes(ops):
    boxes, points = torch.tensor([[[2.0, 2, 0, 2, 2, 4, 0]]]), cloud(1, 100, 3)
    every = ops.points_in_boxes_all(points, boxes)
    assert torch.equal(every, ops.points_in_boxes_cpu(points, boxes))
    assert torch.equal(every[..., 0] - 1, ops.points_in_boxes_part(points, boxes))
    assert 5 < every.sum() < 60
    pooled, empty = ops.RoIPointPool3d(16)(points, points, boxes)
    assert pooled.shape == (1, 1, 16, 6) and not empty.any()
    cells = ops.RoIAwarePool3d(3)(boxes[0], points[0], points[0])
    assert cells.shape == (1, 3, 3, 3, 3)


def test_losses(ops):
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 1, 2, 3, 3, 1])
    assert torch.autograd.gradcheck(lambda x: ops.sigmoid_focal_loss(x, target, 2.0, 0.25, None, "sum"), x)
    assert torch.autograd.gradcheck(lambda x: ops.softmax_focal_loss(x, target % 3, 2.0, 0.25, None, "sum"), x)
    a = torch.tensor([[[0.0, 0, 4, 2, 0.3]]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([[[0.5, 0.2, 3, 2, 0.7]]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a: ops.diff_iou_rotated_2d(a, b), a)
    torch.testing.assert_close(
        ops.diff_iou_rotated_2d(a, b).detach()[0, 0],
        ops.box_iou_rotated(a[0].detach().float(), b[0].float())[0, 0].double(),
        atol=1e-5, rtol=0,
    )  # fmt: skip


def test_roi_align(ops):
    images = torch.randn(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 1.0, 1, 6, 5]]).double()
    for mode in ("avg", "max"):
        assert torch.autograd.gradcheck(lambda x, mode=mode: ops.roi_align(x, rois, 2, 1.0, 2, mode, True), images)


def test_sparse_layers_against_dense_ones(ops):
    coords = torch.stack(torch.unravel_index(torch.randperm(4 * 6 * 5)[:30], (4, 6, 5)), 1)
    coords = torch.cat([torch.zeros(30, 1).long(), coords], 1).int()
    x = torch.randn(30, 3, requires_grad=True)
    layers = ops.SparseSequential(
        ops.SubMConv3d(3, 4, 3, padding=1, bias=False, indice_key="a"),
        ops.SparseConv3d(4, 5, 3, stride=2, padding=1, bias=False),
    )
    out = layers(ops.SparseConvTensor(x, coords, [4, 6, 5], 1)).dense()
    conv = torch.nn.functional.conv3d
    full = x.new_zeros(1, 4, 6, 5, 3).index_put(tuple(coords.long().t()), x).permute(0, 4, 1, 2, 3)
    there = full.new_zeros(1, 1, 4, 6, 5).index_put(
        (*[torch.zeros(30).long()] * 2, *coords.long().t()[1:]), full.new_ones(30)
    )
    full = conv(full, layers[0].weight.permute(4, 3, 0, 1, 2), padding=1) * there
    full = conv(full, layers[1].weight.permute(4, 3, 0, 1, 2), stride=2, padding=1)
    torch.testing.assert_close(out, full, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(out)
    parameters = (x, layers[0].weight, layers[1].weight)
    ours = torch.autograd.grad((out * weight).sum(), parameters)
    for a, b in zip(ours, torch.autograd.grad((full * weight).sum(), parameters)):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_weights_of_spconv_2_are_taken(ops):
    layer = ops.SubMConv3d(3, 4, 3, bias=False)
    again = ops.SubMConv3d(3, 4, 3, bias=False)
    again.load_state_dict({"weight": layer.weight.detach().permute(4, 0, 1, 2, 3)})
    assert torch.equal(again.weight, layer.weight)
    with pytest.raises(RuntimeError, match="size mismatch"):
        again.load_state_dict({"weight": torch.zeros(2, 3, 3, 3, 3)})


def test_what_is_missing_says_so(ops):
    with pytest.raises(NotImplementedError, match="'deform_conv_forward'"):
        ops.DeformConv2d(2, 2, 3)(torch.zeros(1, 2, 8, 8), torch.zeros(1, 18, 6, 6))
