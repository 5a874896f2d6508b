import pytest
import torch
from mmcv_ops.neighbours import (
    ball_query_forward,
    furthest_point_sampling_forward,
    furthest_point_sampling_with_dist_forward,
    knn_forward,
    stack_ball_query_forward,
    three_nn_forward,
)


def clouds(*shape, seed=0):
    return torch.rand(*shape, 3, generator=torch.Generator().manual_seed(seed)) * 4


def distances(x, y):
    return (y.double()[:, None] - x.double()).square().sum(2)


def ball(d2, low, high, k, none):
    """What the kernel does, in words: first come, the first of all where there are fewer."""
    hits = [j for j, d in enumerate(d2.tolist()) if d == 0 or low**2 <= d < high**2][:k]
    return hits + hits[:1] * (k - len(hits)) if hits else none


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.4, 1.2), (0.0, 0.3)])
def test_ball_query_by_definition(low, high):
    xyz, centre = clouds(2, 80), clouds(2, 30, seed=1)
    centre[:, :5] = xyz[:, 10:15]
    idx = torch.zeros(2, 30, 6, dtype=torch.int32)
    ball_query_forward(centre, xyz, idx, b=2, n=80, m=30, min_radius=low, max_radius=high, nsample=6)
    expected = [[ball(row, low, high, 6, [0] * 6) for row in distances(x, y)] for x, y in zip(xyz, centre)]
    assert idx.tolist() == expected


def test_stacked_ball_query_by_definition():
    counts, centres = [40, 0, 25], [10, 4, 8]
    xyz, new = clouds(65), clouds(22, seed=1)
    idx = torch.full((22, 5), 9, dtype=torch.int32)
    stack_ball_query_forward(
        new, torch.tensor(centres).int(), xyz, torch.tensor(counts).int(), idx, max_radius=0.8, nsample=5
    )
    expected = []
    for x, y in zip(xyz.split(counts), new.split(centres)):
        expected += [ball(row, 0, 0.8, 5, [-1, 0, 0, 0, 0]) for row in distances(x, y)]
    assert idx.tolist() == expected
    assert [-1, 0, 0, 0, 0] in expected[:10]


@pytest.mark.parametrize(("n", "k"), [(50, 4), (3, 5)])
def test_knn_by_definition(n, k):
    xyz, centre = clouds(2, n), clouds(2, 7, seed=1)
    idx, dist2 = torch.ones(2, 7, k, dtype=torch.int32), torch.zeros(2, 7, k)
    knn_forward(xyz, centre, idx, dist2, b=2, n=n, m=7, nsample=k)
    for b in range(2):
        expected, order = distances(xyz[b], centre[b]).sort(stable=True)
        there = min(n, k)
        assert torch.equal(idx[b, :, :there].long(), order[:, :k])
        torch.testing.assert_close(dist2[b, :, :there], expected[:, :k].float())
        assert (dist2[b, :, there:] == 1e10).all() and (idx[b, :, there:] == 0).all()


def test_three_nn_by_definition_and_without_points():
    unknown, known = clouds(2, 30), clouds(2, 12, seed=1)
    dist2, idx = torch.zeros(2, 30, 3), torch.zeros(2, 30, 3, dtype=torch.int32)
    three_nn_forward(unknown, known, dist2, idx, b=2, n=30, m=12)
    for b in range(2):
        expected, order = distances(known[b], unknown[b]).sort(stable=True)
        assert torch.equal(idx[b].long(), order[:, :3])
        torch.testing.assert_close(dist2[b], expected[:, :3].float())
    three_nn_forward(unknown, known[:, :0], dist2, idx, b=2, n=30, m=0)
    assert dist2.isinf().all() and not idx.any()


def farthest(d2, k):
    chosen, nearest = [0], d2[0].clone()
    while len(chosen) < k:
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, d2[chosen[-1]])
    return chosen


def test_farthest_points_by_definition():
    xyz = clouds(2, 60)
    temp, idx = torch.full((2, 60), 1e10), torch.zeros(2, 16, dtype=torch.int32)
    furthest_point_sampling_forward(xyz, temp, idx, b=2, n=60, m=16)
    expected = [farthest(distances(x, x), 16) for x in xyz]
    assert idx.tolist() == expected
    table = torch.stack([distances(x, x) for x in xyz]).float()
    furthest_point_sampling_with_dist_forward(table, temp, idx, b=2, n=60, m=16)
    assert idx.tolist() == expected


def test_more_points_than_there_are():
    xyz, idx = clouds(1, 3), torch.ones(1, 5, dtype=torch.int32)
    furthest_point_sampling_forward(xyz, torch.zeros(1, 3), idx, b=1, n=3, m=5)
    assert sorted(idx[0, :3].tolist()) == [0, 1, 2] and idx[0, 3:].tolist() == [0, 0]
    furthest_point_sampling_with_dist_forward(torch.zeros(1, 0, 0), torch.zeros(1, 0), idx, b=1, n=0, m=5)
    assert not idx.any()


def test_no_centres_and_no_samples():
    xyz = clouds(2, 8)
    ball_query_forward(xyz[:, :0], xyz, torch.zeros(2, 0, 3, dtype=torch.int32), 2, 8, 0, 0.0, 1.0, 3)
    knn_forward(xyz, xyz[:, :0], torch.zeros(2, 0, 3, dtype=torch.int32), torch.zeros(2, 0, 3), 2, 8, 0, 3)
