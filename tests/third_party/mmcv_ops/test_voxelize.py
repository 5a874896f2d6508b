import pytest
import torch
from mmcv_ops.voxelize import dynamic_voxelize_forward, hard_voxelize_forward

SIZE, RANGE = torch.tensor([0.5, 0.5, 1.0]), torch.tensor([0.0, -2.0, -1.0, 4.0, 2.0, 1.0])


def cloud(rows=300, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([5.0, 5.0, 3.0, 1.0], dtype=dtype)
    return (torch.rand(rows, 4, generator=generator, dtype=dtype) - 0.5) * scale + torch.tensor([2.0, 0, 0, 0])


def hard(points, max_points, max_voxels):
    voxels = points.new_zeros(max_voxels, max_points, points.size(1))
    coors = torch.zeros(max_voxels, 3, dtype=torch.int32)
    count, number = torch.zeros(max_voxels, dtype=torch.int32), torch.zeros((), dtype=torch.long)
    hard_voxelize_forward(
        points, SIZE, RANGE, voxels, coors, count, number, max_points=max_points, max_voxels=max_voxels, NDim=3
    )
    return voxels[:number], coors[:number], count[:number]


def cell(point):
    place = ((point[:3].double() - RANGE[:3]) / SIZE).floor().long()
    inside = bool((place >= 0).all() and (place < torch.tensor([8, 8, 2])).all())
    return tuple(place.flip(0).tolist()) if inside else None


def by_definition(points, max_points, max_voxels):
    found = {}
    for point in points:
        key = cell(point)
        if key is not None and (key in found or len(found) < max_voxels):
            found.setdefault(key, []).append(point)
    return {key: rows[:max_points] for key, rows in found.items()}


@pytest.mark.parametrize(("max_points", "max_voxels"), [(3, 20), (50, 500), (1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hard_keeps_the_first_of_everything_in_order(max_points, max_voxels, dtype):
    points = cloud(dtype=dtype)
    voxels, coors, count = hard(points, max_points, max_voxels)
    expected = by_definition(points, max_points, max_voxels)
    assert [tuple(row) for row in coors.tolist()] == list(expected)
    for rows, kept, number in zip(expected.values(), voxels, count.tolist()):
        assert number == len(rows)
        assert torch.equal(kept[:number], torch.stack(rows))
        assert not kept[number:].any()


def test_hard_of_non_contiguous_and_of_no_points():
    wide = torch.cat([cloud(), torch.ones(300, 2)], 1)
    assert all(map(torch.equal, hard(wide[:, :4], 3, 20), hard(cloud(), 3, 20)))
    assert [part.size(0) for part in hard(cloud(0), 3, 20)] == [0, 0, 0]
    assert [part.size(0) for part in hard(cloud() + 100, 3, 20)] == [0, 0, 0]


def test_dynamic_says_where_each_point_is():
    points = cloud()
    coors = torch.zeros(300, 3, dtype=torch.int32)
    dynamic_voxelize_forward(points, SIZE, RANGE, coors, NDim=3)
    assert [tuple(row) for row in coors.tolist()] == [cell(point) or (-1, -1, -1) for point in points]


def test_a_range_that_is_no_whole_number_of_voxels_is_rounded():
    points = torch.tensor([[0.95, 0.1, 0.1], [1.05, 0.1, 0.1]])
    coors = torch.zeros(2, 3, dtype=torch.int32)
    dynamic_voxelize_forward(points, torch.tensor([0.5, 0.5, 0.5]), torch.tensor([0.0, 0, 0, 1.2, 1, 1]), coors)
    assert coors.tolist() == [[0, 0, 1], [-1, -1, -1]]


def test_other_dimensions_are_refused():
    with pytest.raises(NotImplementedError, match="2 dimensions"):
        dynamic_voxelize_forward(cloud(), SIZE, RANGE, torch.zeros(300, 3, dtype=torch.int32), NDim=2)
