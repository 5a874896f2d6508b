import torch

from structkd.models.points.point_sample import sample_points

RANGE = (0, -40, -3, 70.4, 40, 1)


def _scan(generator, counts):
    batch = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    pos = torch.rand(len(batch), 3, generator=generator) * torch.tensor([80, 60, 3]) - torch.tensor([0, 30, 2.5])
    return torch.cat([pos, torch.rand(len(batch), 1, generator=generator)], 1), batch


def test_far_points_all_and_near_ones_by_chance(generator):
    points, batch = _scan(generator, (900, 0, 100))
    rows = sample_points(points, batch, 3, 500, RANGE, far=40.0)
    assert rows.unique().numel() == rows.numel()
    inside = points[:, 0] < 70.4
    first = rows[batch[rows] == 0]
    assert first.numel() == 500 and int(inside[batch == 0].sum()) > 600
    far = inside & (points[:, :3].norm(dim=1) >= 40) & (batch == 0)
    assert 0 < int(far.sum()) < 500 and set(far.nonzero().flatten().tolist()) <= set(first.tolist())
    # A scene of fewer points gives all it has, once.
    assert sorted(rows[batch[rows] == 2].tolist()) == ((batch == 2) & inside).nonzero().flatten().tolist()
    assert batch[rows].tolist() == sorted(batch[rows].tolist())


def test_more_far_points_than_there_is_room_for(generator):
    points, batch = _scan(generator, (900,))
    rows = sample_points(points, batch, 1, 50, RANGE, far=10.0)
    assert rows.numel() == 50 and bool((points[rows, :3].norm(dim=1) >= 10).all())


def test_order_of_the_file_and_state_of_randomness_do_not_matter(generator):
    points, batch = _scan(generator, (700,))
    first = points[sample_points(points, batch, 1, 300, RANGE, 40.0)]
    torch.rand(17)
    order = torch.randperm(700, generator=generator)
    assert torch.equal(points[order][sample_points(points[order], batch, 1, 300, RANGE, 40.0)], first)
    assert first[:, 0].tolist() != sorted(first[:, 0].tolist())


def test_no_points():
    none = torch.zeros(0, 4), torch.zeros(0).long()
    assert sample_points(*none, 2, 5, RANGE, 40.0).tolist() == []
