import pytest
import torch
from mmcv_ops.scatter import dynamic_point_to_voxel_backward, dynamic_point_to_voxel_forward

COORS = torch.tensor([[0, 1, 2], [-1, 0, 0], [0, 1, 2], [0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 1, -1]]).int()
FEATS = torch.tensor([[1.0, 5], [9, 9], [3, 5], [-2, -1], [4, 4], [-3, 0], [7, 7]])
#: Voxels in ascending order, and the rows in each.
VOXELS = [[0, 0, 1], [0, 1, 2], [1, 0, 0]]
ROWS = [[3, 5], [0, 2], [4]]


@pytest.mark.parametrize("reduce_type", ["max", "sum", "mean"])
def test_forward_by_definition(reduce_type):
    feats, voxels, row, count = dynamic_point_to_voxel_forward(FEATS, COORS, reduce_type)
    reduce = {"max": lambda x: x.amax(0), "sum": lambda x: x.sum(0), "mean": lambda x: x.mean(0)}[reduce_type]
    assert voxels.tolist() == VOXELS and voxels.dtype == torch.int32
    torch.testing.assert_close(feats, torch.stack([reduce(FEATS[rows]) for rows in ROWS]))
    assert row.tolist() == [1, -1, 1, 0, 2, 0, -1]
    assert count.tolist() == [2, 2, 1]


@pytest.mark.parametrize("reduce_type", ["max", "sum", "mean"])
def test_backward_by_autograd(reduce_type):
    generator = torch.Generator().manual_seed(0)
    feats = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    coors = torch.randint(-1, 3, (40, 2), generator=generator).int()
    reduced, voxels, row, count = dynamic_point_to_voxel_forward(feats, coors, reduce_type)
    weight = torch.randn(reduced.shape, generator=generator, dtype=torch.float64)
    leaf = feats.clone().requires_grad_()
    parts = [leaf[row == v] for v in range(voxels.size(0))]
    direct = torch.stack([getattr(part, {"max": "amax"}.get(reduce_type, reduce_type))(0) for part in parts])
    (direct * weight).sum().backward()
    grad = torch.full_like(feats, 7)
    dynamic_point_to_voxel_backward(grad, weight, feats, reduced, row, count, reduce_type)
    torch.testing.assert_close(grad, leaf.grad)


def test_of_equal_maxima_the_first_gets_the_gradient():
    reduced, _, row, count = dynamic_point_to_voxel_forward(FEATS, COORS, "max")
    grad = torch.zeros_like(FEATS)
    dynamic_point_to_voxel_backward(grad, torch.ones_like(reduced), FEATS, reduced, row, count, "max")
    assert grad[:, 1].tolist() == [1, 0, 0, 0, 1, 1, 0]


@pytest.mark.parametrize("coors", [COORS[:0], COORS[1:2]])
def test_nothing_inside(coors):
    feats, voxels, row, count = dynamic_point_to_voxel_forward(FEATS[: len(coors)], coors, "max")
    assert (feats.shape, voxels.shape, count.numel()) == ((0, 2), (0, 3), 0)
    grad = torch.full((len(coors), 2), 7.0)
    dynamic_point_to_voxel_backward(grad, feats, FEATS[: len(coors)], feats, row, count, "max")
    assert not grad.any()


def test_another_reduction_is_refused():
    with pytest.raises(NotImplementedError, match="reduce_type='min'"):
        dynamic_point_to_voxel_forward(FEATS, COORS, "min")
