import pytest
import torch

from structkd import Structure
from structkd.distillers.tokens.sampling import draw, sampled_tokens
from structkd.errors import DataError


def numbered(images, channels, height, width):
    """A map whose first channel numbers its cells through."""
    count = images * height * width
    first = torch.arange(count, dtype=torch.float32).view(images, 1, height, width)
    return torch.cat([first, torch.zeros(images, channels - 1, height, width)], 1)


def tokens(student, teacher, most, seed=0, field="tokens"):
    return sampled_tokens(student, teacher, field, most, torch.Generator().manual_seed(seed), "TRG")


def maps(mask=None):
    return Structure(tokens=numbered(3, 4, 2, 5), mask_map=mask), Structure(tokens=numbered(3, 6, 2, 5))


def test_the_same_places_of_both_sides():
    found = tokens(*maps(), most=4)
    assert found.student.shape == (12, 4) and found.teacher.shape == (12, 6)
    assert torch.equal(found.student[:, 0], found.teacher[:, 0])
    assert found.batch.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert torch.equal(found.student[:, 0].long() // 10, found.batch)
    assert found.student[:, 0].unique().numel() == 12


def test_all_of_a_small_image_in_order():
    found = tokens(*maps(), most=99)
    assert found.student[:, 0].tolist() == list(range(30)) and len(found.batch) == 30


def test_every_place_is_drawn_alike():
    counts = torch.zeros(30)
    for seed in range(600):
        counts[tokens(*maps(), most=3, seed=seed).student[:, 0].long()] += 1
    assert counts.min() > 120 and counts.max() < 240  # 180 expected, standard deviation 11


def test_hidden_tokens_are_never_drawn():
    mask = torch.zeros(3, 2, 5, dtype=torch.bool)
    mask[0, 0, :3] = mask[2] = True
    found = tokens(*maps(mask), most=4)
    assert found.student[:3, 0].tolist() == [0, 1, 2] and found.batch.tolist() == [0] * 3 + [2] * 4
    nothing = tokens(*maps(torch.zeros_like(mask)), most=4)
    assert nothing.student.shape == (0, 4) and nothing.teacher.shape == (0, 6) and nothing.batch.shape == (0,)
    with pytest.raises(DataError, match=r"TRG: mask_map has shape \[2, 2, 5\]; expected \[B=3, h, w\]"):
        tokens(*maps(mask[:2]), most=4)


def test_a_mask_of_another_grid_is_read_at_the_nearest_cell():
    mask = torch.zeros(3, 4, 10, dtype=torch.bool)
    mask[1, 2:, 6:8] = True
    assert tokens(*maps(mask), most=4).student[:, 0].tolist() == [10 + 5 + 3]


def test_teachers_grid_becomes_the_students():
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    found = tokens(Structure(tokens=torch.zeros(1, 3, 2, 2)), Structure(tokens=ramp), most=9)
    assert found.teacher.flatten().tolist() == [0.5, 2.5, 0.5, 2.5]


def test_rows_of_images_of_different_size():
    batch = torch.tensor([0, 0, 0, 0, 2, 3, 3, 3])
    x = torch.arange(8.0).unsqueeze(1)
    mask = torch.tensor([True] * 6 + [False] * 2)
    student, teacher = Structure(x=x, batch=batch, mask=mask), Structure(x=2 * x, batch=batch)
    found = tokens(student, teacher, 2, field="x")
    assert found.batch.tolist() == [0, 0, 2, 3] and torch.equal(2 * found.student, found.teacher)
    assert found.student[2:].flatten().tolist() == [4, 5]


def test_draws_hang_on_the_generator_alone():
    batch = torch.arange(40) // 10
    first, again, other = (draw(batch, 3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(first, first.sort().values)
    assert draw(batch[:0], 3, torch.Generator()).shape == (0,)


def test_no_images():
    found = tokens(Structure(tokens=torch.zeros(0, 3, 2, 2)), Structure(tokens=torch.zeros(0, 5, 2, 2)), 4)
    assert found.student.shape == (0, 3) and found.teacher.shape == (0, 5)
