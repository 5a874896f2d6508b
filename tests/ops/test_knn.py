import importlib

import pytest
import torch
import torch.nn.functional as F

from structkd.errors import ConfigError, DataError
from structkd.ops.knn import knn

module = importlib.import_module("structkd.ops.knn")  # the package's attribute of that name is the function


def brute(x, k, y=None, batch_x=None, batch_y=None, metric="euclidean", loop=False):
    """One query at a time, sorted by (distance, row)."""
    queries, batch_y = (x, batch_x) if y is None else (y, batch_y)
    index, distances = [], []
    for q, row in enumerate(queries):
        if metric == "euclidean":
            d = (x - row).square().sum(1).sqrt()
        else:
            d = 1 - F.normalize(x, dim=1) @ F.normalize(row, dim=0)
        found = [
            (float(d[j]), j)
            for j in range(len(x))
            if (y is not None or loop or j != q) and (batch_x is None or batch_x[j] == batch_y[q])
        ]
        for distance, j in sorted(found)[:k]:
            index.append((q, j))
            distances.append(distance)
    return torch.tensor(index, dtype=torch.long).view(-1, 2).t(), torch.tensor(distances, dtype=x.dtype)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("channels", [3, 40])
@pytest.mark.parametrize("block", [1, 4, 7, 100])
@pytest.mark.parametrize("case", ["alone", "loop", "queries", "batches", "batches of queries"])
def test_equals_brute_force(metric, channels, block, case):
    x, y = torch.randn(23, channels, dtype=torch.float64), torch.randn(9, channels, dtype=torch.float64)
    batch_x, batch_y = torch.randint(4, (23,)).sort().values, torch.randint(5, (9,)).sort().values
    options = {
        "alone": {},
        "loop": {"loop": True},
        "queries": {"y": y},
        "batches": {"batch_x": batch_x},
        "batches of queries": {"y": y, "batch_x": batch_x, "batch_y": batch_y},
    }[case]
    index, distance = knn(x, 5, metric=metric, block=block, **options)
    expected_index, expected_distance = brute(x, 5, metric=metric, **options)
    assert torch.equal(index, expected_index)
    assert torch.allclose(distance, expected_distance, atol=1e-12)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("channels", [2, 40])
@pytest.mark.parametrize("block", [50, 1000])
@pytest.mark.parametrize("case", ["alone", "loop", "queries", "batches"])
def test_narrowing_loses_nothing(metric, channels, block, case, monkeypatch):
    """Tiles wide enough to be narrowed down, with rows of equal distance in all of them."""
    monkeypatch.setattr(module, "GROUPS", 8)
    monkeypatch.setattr(module, "ROWS", 50)
    x = torch.randint(4, (160, channels)).double() + 1
    y, batch = torch.randint(4, (40, channels)).double() + 1, torch.randint(3, (160,)).sort().values
    options = {"alone": {}, "loop": {"loop": True}, "queries": {"y": y}, "batches": {"batch_x": batch}}[case]
    widths = []
    nearest = module._nearest
    monkeypatch.setattr(module, "_nearest", lambda d, ids, k: widths.append(d.size(1)) or nearest(d, ids, k))
    index, distance = knn(x, 6, metric=metric, block=block, **options)
    expected_index, expected_distance = brute(x, 6, metric=metric, **options)
    torch.testing.assert_close(distance, expected_distance, rtol=0, atol=1e-6)
    if metric == "euclidean":  # of differences, so that equal distances come out equal
        assert torch.equal(index, expected_index)
    assert min(widths) < 50


@pytest.mark.parametrize("block", [1, 3, 64])
def test_ties_go_to_the_lower_row(block):
    x = torch.tensor([[0.0], [1.0], [1.0], [-1.0], [1.0], [0.0]])
    index, distance = knn(x, 3, y=torch.zeros(1, 1), block=block)
    assert index[1].tolist() == [0, 5, 1] and distance.tolist() == [0, 0, 1]
    many = torch.randint(3, (50, 2)).float()
    reference = knn(many, 7)
    assert torch.equal(knn(many, 7, block=block)[0], reference[0])
    assert torch.equal(reference[0], brute(many, 7)[0])


def test_k_is_clipped_to_what_is_there():
    x = torch.randn(4, 2)
    assert knn(x, 10)[0].shape == (2, 12)
    assert knn(x, 10, loop=True)[0].shape == (2, 16)
    batch = torch.tensor([0, 1, 1, 1])
    assert torch.bincount(knn(x, 2, batch_x=batch)[0][0], minlength=4).tolist() == [0, 2, 2, 2]


def test_empty_and_single():
    x = torch.randn(5, 2)
    for index, distance in (knn(x[:0], 3), knn(x[:1], 3), knn(x[:0], 3, y=x), knn(x, 3, y=x[:0])):
        assert index.shape == (2, 0) and index.dtype == torch.long and distance.shape == (0,)


def test_no_array_is_larger_than_a_tile(monkeypatch):
    shapes = []
    nearest = module._nearest
    monkeypatch.setattr(module, "_nearest", lambda d, ids, k: shapes.append(tuple(d.shape)) or nearest(d, ids, k))
    knn(torch.randn(100, 3), 4, block=10)
    assert len(shapes) == 100 and max(rows for rows, _ in shapes) == 10
    assert max(columns for _, columns in shapes) == 14  # a tile and the best so far


def test_blocks_of_other_samples_are_not_visited(monkeypatch):
    shapes = []
    nearest = module._nearest
    monkeypatch.setattr(module, "_nearest", lambda d, ids, k: shapes.append(d.shape) or nearest(d, ids, k))
    knn(torch.randn(100, 3), 4, batch_x=torch.arange(10).repeat_interleave(10), block=10)
    assert len(shapes) == 10


@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize("case", ["plain", "autocast", "imprecise products"])
def test_estimates_lose_nothing_in_float32(offset, case, monkeypatch):
    """Points far from zero, in clusters tighter than what rounding leaves of products."""
    monkeypatch.setattr(module, "GROUPS", 8)
    x = offset + torch.randn(20, 1, 64) + 1e-3 * torch.randn(20, 12, 64)
    x = x.view(-1, 64)
    if case == "imprecise products":
        monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    with torch.autocast("cpu", enabled=case == "autocast"):
        index, distance = knn(x, 5)
    exact, exact_distance = brute(x.double(), 5)
    assert torch.equal(index, exact)
    torch.testing.assert_close(distance.double(), exact_distance, rtol=1e-5, atol=0)


def test_equal_points_take_no_more_memory(monkeypatch):
    monkeypatch.setattr(module, "GROUPS", 8)
    monkeypatch.setattr(module, "GATHERED", 40 * 64 * 3)
    taken = []
    select = torch.Tensor.index_select
    monkeypatch.setattr(torch.Tensor, "index_select", lambda t, d, i: taken.append(len(i)) or select(t, d, i))
    x = torch.ones(90, 64)
    index, distance = knn(x, 3, y=x[:40])
    assert index[1].tolist() == [0, 1, 2] * 40 and not distance.any()
    assert sum(taken) == 90 * 40 and max(taken) == 40 * 3


@pytest.mark.parametrize("size", [0, 5, 8, 67])
def test_true_entries_are_found_in_order(size):
    for share in (0, 0.1, 1):
        mask = torch.rand(size) < share
        assert torch.equal(module._true(mask), mask.nonzero().flatten())


def test_near_duplicates_are_told_apart_in_float32():
    x = 100 + torch.randn(1, 64).repeat(20, 1)
    x += 1e-3 * torch.arange(20).unsqueeze(1)
    index, _ = knn(x, 2)
    inner = (index[0] > 0) & (index[0] < 19)
    assert (index[0] - index[1])[inner].abs().max() == 1


def test_equivariant_and_without_gradient():
    x, order = torch.randn(30, 3, dtype=torch.float64, requires_grad=True), torch.randperm(30)
    index, distance = knn(x, 4)
    moved, _ = knn(x[order], 4)
    edges = {(int(q), int(n)) for q, n in index.t()}
    assert {(int(order[q]), int(order[n])) for q, n in moved.t()} == edges
    assert not distance.requires_grad


def test_bad_input():
    x = torch.randn(4, 2)
    with pytest.raises(ConfigError, match="k=0"):
        knn(x, 0)
    with pytest.raises(ConfigError, match="metric is 'dot'"):
        knn(x, 1, metric="dot")
    with pytest.raises(DataError, match="NaN"):
        knn(x / 0 * 0, 1)
    with pytest.raises(DataError, match="queries"):
        knn(x, 1, y=torch.randn(3, 5))
    with pytest.raises(DataError, match="ascending"):
        knn(x, 1, batch_x=torch.tensor([1, 0, 1, 1]))
    with pytest.raises(DataError, match="one side only"):
        knn(x, 1, y=x, batch_x=torch.zeros(4))
