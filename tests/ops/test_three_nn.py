import pytest
import torch

from structkd.errors import DataError
from structkd.ops.three_nn import _by_knn, three_interpolate, three_nn


@pytest.mark.parametrize("grid", [False, True], ids=["random", "full of ties"])
def test_tree_and_comparison_of_all_agree(generator, grid):
    x, y = (torch.rand(n, 3, generator=generator, dtype=torch.float64) * 4 for n in (90, 150))
    if grid:
        x, y = x.round(), y.round()
    batch_x, batch_y = torch.tensor([0] * 40 + [2] * 50), torch.tensor([0] * 70 + [2] * 80)
    for batches in ((None, None), (batch_x, batch_y)):
        index, distance = three_nn(x, y, *batches)
        expected, far = _by_knn(x, y, *batches)
        assert torch.equal(index, expected)
        torch.testing.assert_close(distance, far, rtol=0, atol=1e-12)
        all_far = torch.cdist(y, x, compute_mode="donot_use_mm_for_euclid_dist")
        if batches[0] is not None:
            all_far[batch_y[:, None] != batch_x] = float("inf")
        torch.testing.assert_close(distance, all_far.sort(1).values[:, :3], rtol=0, atol=1e-12)


def test_few_points_repeat_the_nearest():
    x = torch.tensor([[0.0, 0, 0], [3, 0, 0], [7, 0, 0]])
    y = torch.tensor([[1.0, 0, 0], [8, 0, 0]])
    index, distance = three_nn(x, y, torch.tensor([0, 0, 1]), torch.tensor([0, 1]))
    assert index.tolist() == [[0, 1, 0], [2, 2, 2]]
    assert distance.tolist() == [[1, 2, 1], [1, 1, 1]]


def test_hand_computed_mean():
    x = torch.tensor([[6.0, 0], [0, 6], [12, 12]], dtype=torch.float64)
    index, distance = torch.tensor([[0, 1, 2], [1, 0, 2]]), torch.tensor([[1.0, 1, 2], [0, 1, 1]]).double()
    got = three_interpolate(x, index, distance)
    torch.testing.assert_close(got[0], torch.tensor([(6 + 6) / 2.5, (6 + 6) / 2.5]).double())
    torch.testing.assert_close(got[1], x[1], rtol=0, atol=1e-6)


def test_gradient(generator):
    x = torch.randn(6, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    pos = torch.rand(6, 3, generator=generator, dtype=torch.float64)
    index, distance = three_nn(pos, torch.rand(9, 3, generator=generator, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda x: three_interpolate(x, index, distance), x)
    assert three_interpolate(x.bfloat16(), index, distance).dtype == torch.bfloat16


def test_nothing_and_bad_input():
    none, some = torch.zeros(0, 3), torch.zeros(2, 3)
    for queries, points in ((none, none), (none, some)):
        index, distance = three_nn(points, queries)
        assert index.shape == distance.shape == (0, 3)
        assert three_interpolate(torch.zeros(points.size(0), 5), index, distance).shape == (0, 5)
    with pytest.raises(DataError, match="no point"):
        three_nn(none, some)
    with pytest.raises(DataError, match="no point"):
        three_nn(some, some, torch.tensor([0, 0]), torch.tensor([0, 1]))
    with pytest.raises(DataError, match="NaN"):
        three_nn(some, some * float("nan"))
    with pytest.raises(DataError, match=r"expected \[M, 3\] twice"):
        three_interpolate(some, torch.zeros(2, 2).long(), torch.zeros(2, 2))
