import pytest
import torch
from torch.nn import functional as F

from structkd.models.points.layers import norm_padded_rows
from structkd.models.points.pillar_encoder import PillarEncoder
from structkd.ops.voxels import hard_voxelize, voxelize

RANGE, SIZE = (0, 0, -3, 4, 4, 1), (1, 1, 4)


@pytest.fixture
def points(generator):
    return torch.rand(200, 5, generator=generator) * torch.tensor([4, 4, 4, 1, 1]) - torch.tensor([0, 0, 3.0, 0, 0])


@pytest.fixture
def batch():
    return torch.arange(200) // 100


def test_inputs_by_hand():
    points = torch.tensor([[1.2, 2.4, -1.0, 0.5], [1.6, 2.8, 0.0, 0.7], [3.5, 0.5, -2.0, 0.1]])
    voxels = voxelize(points, torch.zeros(3, dtype=torch.int64), 1, RANGE, SIZE)
    # Pillar centres are (1.5, 2.5, -1) and (3.5, 0.5, -1); the first pillar's mean is (1.4, 2.6, -0.5).
    centre = [[-0.3, -0.1, 0.0], [0.1, 0.3, 1.0], [0.0, 0.0, -1.0]]
    mean = [[-0.2, -0.2, -0.5], [0.2, 0.2, 0.5], [0.0, 0.0, 0.0]]
    for legacy, first in ((True, centre), (False, points[:, :3].tolist())):
        expected = [[*a, r, *b, *c] for a, r, b, c in zip(first, (0.5, 0.7, 0.1), mean, centre)]
        found = PillarEncoder(4, 8, legacy).decorate(points, voxels)
        torch.testing.assert_close(found, torch.tensor(expected))


@pytest.mark.parametrize("training", [True, False])
def test_padding_acts_as_rows_of_zeros(points, batch, training):
    """Against pillars that are filled up to 6 rows: linear, batch norm over all rows, ReLU, maximum."""
    voxels = hard_voxelize(points, batch, 2, RANGE, SIZE, max_points=6, max_voxels=14)
    torch.manual_seed(0)
    model = PillarEncoder(5, 8, padding=6).double()
    torch.nn.init.normal_(model.norm.bias)
    torch.nn.init.normal_(model.norm.weight)
    model.norm.running_mean.normal_()
    model.train(training)
    points = points.double()

    padded = points.new_zeros(voxels.coords.size(0), 6, 11)
    place = torch.cat([torch.arange(count) for count in voxels.count.tolist()])
    order = voxels.voxel.argsort(stable=True)
    padded[voxels.voxel[order], place] = model.decorate(points, voxels)[order]
    norm = F.batch_norm(
        model.linear(padded).flatten(0, 1), model.norm.running_mean.clone(), model.norm.running_var.clone(),
        model.norm.weight, model.norm.bias, training, 0.01, 1e-3,
    )  # fmt: skip
    expected = norm.view(-1, 6, 8).relu().amax(1)
    assert (voxels.count < 6).any() and (voxels.count == 6).any()
    torch.testing.assert_close(model(points, voxels), expected)


def test_padded_batch_norm_learns_like_torch(generator):
    x = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    mine, theirs = (torch.nn.BatchNorm1d(3, momentum=0.3).double() for _ in range(2))
    filled = torch.cat([x, x.new_zeros(5, 3)])
    for _ in range(2):
        rows, zero = norm_padded_rows(mine, x, 5)
        expected = theirs(filled)
        torch.testing.assert_close(torch.cat([rows, zero.expand(5, 3)]), expected)
    for name, value in mine.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name])
    mine.train()
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: norm_padded_rows(mine, x, 5), (x,))


def test_the_order_of_points_does_not_matter(points, batch, generator):
    model = PillarEncoder(5, 8).eval()
    order = torch.cat([torch.randperm(100, generator=generator), 100 + torch.randperm(100, generator=generator)])
    a = model(points, voxelize(points, batch, 2, RANGE, SIZE))
    b = model(points[order], voxelize(points[order], batch, 2, RANGE, SIZE))
    torch.testing.assert_close(a, b)


def test_a_pillar_is_the_maximum_of_its_points(points, batch):
    model = PillarEncoder(5, 8).eval()
    voxels = voxelize(points, batch, 2, RANGE, SIZE)
    each = model.norm(model.linear(model.decorate(points, voxels))).relu()
    expected = torch.stack([each[voxels.voxel == v].amax(0) for v in range(voxels.coords.size(0))])
    torch.testing.assert_close(model(points, voxels), expected)
