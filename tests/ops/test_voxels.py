import pytest
import torch

from structkd.errors import ConfigError, DataError
from structkd.ops.voxels import hard_voxelize, voxelize

RANGE = (0.0, -4.0, -3.0, 8.0, 4.0, 1.0)
SIZE = (0.5, 0.5, 1.0)


def _scan(generator, count=2000, scenes=3):
    points = torch.rand(count, 4, generator=generator) * torch.tensor([10, 10, 5, 1]) - torch.tensor([1, 5, 3.5, 0])
    return points, torch.randint(scenes, (count,), generator=generator).sort().values


def _by_loop(points, batch, max_points, max_voxels):
    """Point by point, as the definition goes: cells in order of appearance, with the rows each keeps."""
    cells = {}
    for row, (point, scene) in enumerate(zip(points.tolist(), batch.tolist())):
        if all(low <= value < high for value, low, high in zip(point, RANGE[:3], RANGE[3:])):
            x, y, z = (int((value - low) // size) for value, low, size in zip(point, RANGE[:3], SIZE))
            if (scene, z, y, x) not in cells and sum(key[0] == scene for key in cells) >= max_voxels:
                continue
            rows = cells.setdefault((scene, z, y, x), [])
            if len(rows) < max_points:
                rows.append(row)
    return cells


def _as_dict(voxels):
    cells = {tuple(coord): [] for coord in voxels.coords.tolist()}
    for row, voxel in zip(voxels.point.tolist(), voxels.voxel.tolist()):
        cells[tuple(voxels.coords[voxel].tolist())].append(row)
    return cells


@pytest.mark.parametrize("max_points, max_voxels", [(3, 100), (1, 10_000), (10_000, 7), (2, 1)])
def test_hard_voxels_are_those_of_a_loop_over_the_points(generator, max_points, max_voxels):
    points, batch = _scan(generator)
    voxels = hard_voxelize(points, batch, 3, RANGE, SIZE, max_points, max_voxels)
    assert _as_dict(voxels) == _by_loop(points, batch, max_points, max_voxels)
    assert voxels.count.tolist() == torch.bincount(voxels.voxel, minlength=voxels.id.numel()).tolist()
    assert bool((voxels.id[1:] > voxels.id[:-1]).all()) and bool((voxels.point[1:] > voxels.point[:-1]).all())


def test_dynamic_voxels_are_those_of_a_loop_over_the_points(generator):
    points, batch = _scan(generator)
    voxels = voxelize(points, batch, 3, RANGE, SIZE)
    assert voxels.grid == (4, 16, 16)
    assert _as_dict(voxels) == _by_loop(points, batch, 10_000, 10_000)
    scene, z, y, x = voxels.coords.unbind(1)
    assert torch.equal(voxels.id, ((scene * 4 + z) * 16 + y) * 16 + x)
    assert bool((voxels.id[1:] > voxels.id[:-1]).all())
    far = (points[voxels.point, :3] - voxels.centers()[voxels.voxel]).abs()
    assert bool((far <= torch.tensor(SIZE) / 2 + 1e-5).all())


def test_a_scene_has_the_same_voxels_alone_and_in_a_batch(generator):
    points, batch = _scan(generator)
    together = voxelize(points, batch, 3, RANGE, SIZE)
    alone = voxelize(points[batch == 1], batch[batch == 1] * 0, 1, RANGE, SIZE)
    mine = together.coords[:, 0] == 1
    assert torch.equal(together.coords[mine, 1:], alone.coords[:, 1:])
    assert torch.equal(together.count[mine], alone.count)


def test_borders_and_what_is_not_a_place():
    nan, inf = float("nan"), float("inf")
    points = torch.tensor(
        [[0, -4, -3], [8, 0, 0], [0, 4, 0], [0, 0, 1], [7.99, 3.99, 0.99], [-0.01, 0, 0], [nan, 0, 0], [inf, 0, 0]]
    )
    voxels = voxelize(points, torch.zeros(8, dtype=torch.long), 1, RANGE, SIZE)
    assert voxels.point.tolist() == [0, 4]
    assert voxels.coords.tolist() == [[0, 0, 0, 0], [0, 3, 15, 15]]
    assert voxels.centers().tolist() == [[0.25, -3.75, -2.5], [7.75, 3.75, 0.5]]


def test_same_on_any_number_of_threads(generator):
    points, batch = _scan(generator, 40_000)
    one = hard_voxelize(points, batch, 3, RANGE, SIZE, 5, 300)
    torch.set_num_threads(2)
    try:
        two = hard_voxelize(points, batch, 3, RANGE, SIZE, 5, 300)
    finally:
        torch.set_num_threads(1)
    for name in ("coords", "point", "voxel", "count"):
        assert torch.equal(getattr(one, name), getattr(two, name))


def test_empty_scans():
    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
    for voxels in (voxelize(*nothing, 2, RANGE, SIZE), hard_voxelize(*nothing, 2, RANGE, SIZE, 5, 5)):
        assert voxels.coords.shape == (0, 4) and voxels.centers().shape == (0, 3) and voxels.voxel.numel() == 0
    points = torch.tensor([[1.0, 0, 0]])
    assert voxelize(points, torch.tensor([2]), 4, RANGE, SIZE).coords.tolist() == [[2, 3, 8, 2]]


def test_kitti_grids():
    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 1
    assert voxelize(*nothing, (0, -39.68, -3, 69.12, 39.68, 1), (0.16, 0.16, 4)).grid == (1, 496, 432)
    assert voxelize(*nothing, (0, -40, -3, 70.4, 40, 1), (0.05, 0.05, 0.1)).grid == (40, 1600, 1408)


def test_bad_input():
    points, batch = torch.zeros(3, 4), torch.zeros(3, dtype=torch.long)
    with pytest.raises(DataError, match=r"\(3, 2\).*\[P, 3 or more\]"):
        voxelize(points[:, :2], batch, 1, RANGE, SIZE)
    with pytest.raises(DataError, match="ascending and within 0 to 0"):
        voxelize(points, batch + 1, 1, RANGE, SIZE)
    with pytest.raises(DataError, match="ascending"):
        voxelize(points, torch.tensor([0, 1, 0]), 2, RANGE, SIZE)
    with pytest.raises(ConfigError, match=r"From 0.0 to 8.0 there are 26.67 voxels of 0.3"):
        voxelize(points, batch, 1, RANGE, (0.3, 0.5, 1))
    with pytest.raises(ConfigError, match="three sizes above 0"):
        voxelize(points, batch, 1, RANGE, (0.0, 0.5, 1))
    with pytest.raises(ConfigError, match="max_points=0"):
        hard_voxelize(points, batch, 1, RANGE, SIZE, 0, 5)
