import math

import pytest
import torch
import torch.nn.functional as F

from structkd.errors import ConfigError
from structkd.models import CosineCodebook
from structkd.models.graphs import vq


def codebook(codes, **options):
    codes = torch.tensor(codes, dtype=torch.float64)
    book = CosineCodebook(len(codes), codes.size(1), **options).double()
    book.codes.copy_(codes)
    return book


def test_starts_with_unit_codes_and_resets():
    book = CosineCodebook(20, 6)
    torch.testing.assert_close(book.codes.norm(dim=1), torch.ones(20))
    before = book.codes.clone()
    book.reset_parameters()
    assert not torch.equal(before, book.codes)
    assert not list(book.parameters())


def test_assigns_by_angle_in_blocks(monkeypatch):
    book = CosineCodebook(11, 5)
    h = torch.randn(50, 5) * torch.rand(50, 1) * 100
    expected = torch.stack([F.cosine_similarity(h, code[None]) for code in book.codes], 1)
    torch.testing.assert_close(book.similarity(h), expected)
    monkeypatch.setattr(vq, "ROWS", 7)
    assert torch.equal(book.assign(h), expected.argmax(1))


@pytest.mark.parametrize("mode", ["default", "reference"])
def test_one_step_by_hand(mode):
    book = codebook([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], mode=mode)
    h = torch.tensor([[3.0, 0.0], [3.0, 3.0], [0.1, 5.0]], dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        h[1, 0] += 1e-9  # lean from the diagonal towards code 0
    q, codes, commitment = book(h)
    assert codes.tolist() == [0, 0, 1]
    torch.testing.assert_close(q, torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64))
    squares = (3 - 1) ** 2 + (3 - 1) ** 2 + 3**2 + 0.1**2 + (5 - 1) ** 2
    torch.testing.assert_close(commitment, torch.tensor(0.25 * squares / 6, dtype=torch.float64))
    # The mean of (1, 0) and (1, 1) / sqrt 2 points 22.5 degrees up.
    angle = math.pi / 8
    moved = torch.tensor([0.8 + 0.2 * math.cos(angle), 0.2 * math.sin(angle)], dtype=torch.float64)
    assert moved.norm() < 1
    torch.testing.assert_close(book.codes[0], moved if mode == "reference" else moved / moved.norm())
    torch.testing.assert_close(book.codes[2], torch.tensor([-1.0, 0.0], dtype=torch.float64))  # not hit, not moved
    torch.testing.assert_close(book.hits, torch.tensor([1.2, 1.0, 0.8], dtype=torch.float64))


def test_gradient_passes_straight_through_to_the_input_only():
    book = codebook([[1.0, 0.0], [0.0, 1.0]], commitment_weight=0.0)
    h = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(6, 2, dtype=torch.float64)
    q, _, commitment = book(h)
    ((q * weights).sum() + commitment).backward()
    torch.testing.assert_close(h.grad, weights)
    assert not book.codes.requires_grad


def test_commitment_is_zero_on_the_codes():
    book = codebook([[1.0, 0.0], [0.0, 1.0]])
    assert book(torch.eye(2, dtype=torch.float64))[2] == 0


def test_eval_changes_nothing():
    book = CosineCodebook(8, 4, init="kmeans", revive_below=0.5).eval()
    before = {name: value.clone() for name, value in book.state_dict().items()}
    h = torch.randn(30, 4, requires_grad=True)
    q, codes, _ = book(h)
    torch.testing.assert_close(q, book.codes[codes])
    assert all(torch.equal(before[name], value) for name, value in book.state_dict().items())


def test_kmeans_start_finds_separated_directions():
    directions = torch.eye(4)
    h = directions.repeat_interleave(25, 0) * 10 + 0.05 * torch.randn(100, 4)
    h[3] = 0  # a row without direction is no start
    best = 0
    for seed in range(5):
        torch.manual_seed(seed)
        book = CosineCodebook(4, 4, init="kmeans").train()
        book(h)
        torch.testing.assert_close(book.codes.norm(dim=1), torch.ones(4))
        best = max(best, book.similarity(directions).max(dim=1).values.min())
    assert best > 0.99
    assert book.started


def test_kmeans_with_fewer_rows_than_codes_keeps_the_rest():
    book = CosineCodebook(10, 3, init="kmeans")
    rest = book.codes[4:].clone()
    h = torch.randn(4, 3)
    book(h)
    torch.testing.assert_close(book.codes[:4].sort(0).values, F.normalize(h, dim=1).sort(0).values)
    assert torch.equal(book.codes[4:], rest)


def test_dead_codes_are_revived():
    h = F.normalize(torch.randn(200, 4) * 0.01 + torch.tensor([1.0, 0, 0, 0]), dim=1)
    used = {}
    for revive_below in (0.0, 0.3):
        torch.manual_seed(0)
        book = CosineCodebook(16, 4, revive_below=revive_below)
        for _ in range(40):
            codes = book(h)[1]
        used[revive_below] = codes.unique().numel()
    assert used[0.0] <= 2 and used[0.3] >= 12


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("init", ["uniform", "kmeans"])
def test_empty_single_and_zero_input(rows, init):
    book = CosineCodebook(5, 3, init=init, revive_below=2.0)
    h = torch.zeros(rows, 3, requires_grad=True)
    q, codes, commitment = book(h)
    assert q.shape == (rows, 3) and codes.shape == (rows,) and torch.isfinite(commitment)
    torch.testing.assert_close(book.codes.norm(dim=1), torch.ones(5))
    commitment.backward()


def test_unknown_words():
    with pytest.raises(ConfigError, match="mode='published'"):
        CosineCodebook(3, 2, mode="published")
    with pytest.raises(ConfigError, match=r"init='zeros'.*kmeans, uniform"):
        CosineCodebook(3, 2, init="zeros")
    with pytest.raises(ConfigError, match="num_codes=0"):
        CosineCodebook(0, 2)
