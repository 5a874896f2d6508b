import pytest
import torch

from structkd import Structure
from structkd.distillers.elements import elements, paired_elements
from structkd.errors import DataError


def test_rows_bring_what_goes_with_them():
    x, batch = torch.randn(5, 2), torch.tensor([0, 0, 2, 2, 2])
    count, pos = torch.arange(5), torch.randn(5, 3)
    rows = elements(Structure(x=x, batch=batch, importance=count, pos=pos, tap=x + 1), "tap", "A")
    assert torch.equal(rows.x, x + 1) and rows.batch is batch and rows.importance is count and rows.pos is pos
    scenes = rows.scenes()  # the one without elements is not among them
    assert [s.batch.tolist() for s in scenes] == [[0, 0], [2, 2, 2]]
    assert scenes[1].importance.tolist() == [2, 3, 4] and torch.equal(scenes[1].pos, pos[2:])
    taken = rows.take(torch.tensor([3, 0]))
    assert torch.equal(taken.x, x[[3, 0]] + 1) and taken.importance.tolist() == [3, 0]


def test_rows_alone_are_one_scene():
    rows = elements(Structure(x=torch.randn(3, 2)), "x", "A")
    assert rows.batch.tolist() == [0, 0, 0] and rows.importance is None and rows.pos is None
    assert elements(Structure(x=torch.randn(0, 2)), "x", "A").scenes() == []


def test_cells_of_maps():
    grid = torch.randn(2, 3, 2, 4, requires_grad=True)
    rows = elements(Structure(neck=grid, importance=torch.ones(5)), "neck", "A")
    assert rows.x.shape == (16, 3) and rows.importance is None  # which belongs to other elements
    for scene, row, column in ((0, 1, 2), (1, 0, 3)):
        at = scene * 8 + row * 4 + column
        assert torch.equal(rows.x[at], grid[scene, :, row, column])
        assert rows.batch[at] == scene and rows.pos[at].tolist() == [row, column]
    rows.x.sum().backward()
    assert torch.equal(grid.grad, torch.ones_like(grid))
    assert elements(Structure(neck=grid[:0]), "neck", "A").x.shape == (0, 3)


def test_pairs_leave_out_what_is_masked():
    student, teacher = Structure(x=torch.randn(4, 2)), Structure(x=torch.randn(4, 3), importance=torch.arange(4))
    student.mask = torch.tensor([True, False, True, True])
    ours, theirs = paired_elements(student, teacher, "x", "A")
    assert torch.equal(ours.x, student.x[student.mask]) and theirs.importance.tolist() == [0, 2, 3]


def test_pairs_of_maps_leave_out_hidden_cells_and_are_of_the_same_images():
    mask = torch.tensor([[[True, False], [False, True]], [[True, True], [True, False]]])
    student = Structure(neck=torch.randn(2, 3, 2, 2), n_id=torch.tensor([5, 7]), mask_map=mask)
    teacher = Structure(neck=torch.randn(2, 4, 2, 2), n_id=torch.tensor([5, 7]))
    ours, theirs = paired_elements(student, teacher, "neck", "A")
    assert ours.batch.tolist() == [0, 0, 1, 1, 1] and torch.equal(theirs.x[1], teacher.neck[0, :, 1, 1])
    with pytest.raises(DataError, match=r"n_id .* differ.* 7 and 6 at place 1"):
        paired_elements(student, Structure(neck=teacher.neck, n_id=torch.tensor([5, 6])), "neck", "A")


def test_ids_of_something_else_say_nothing():
    """Voxels beside a map: as many on both sides by chance, or because both were cut at the same number."""
    sides = [Structure(torch.randn(9, 3), neck=torch.randn(2, 3, 2, 2), n_id=torch.arange(9) + i) for i in (0, 1)]
    assert len(paired_elements(*sides, "neck", "A")[0].x) == 8
    with pytest.raises(DataError, match=r"n_id .* differ"):
        paired_elements(*sides, "x", "A")


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ({"x": torch.randn(4)}, {}, r"x has shape \(4,\); expected rows"),
        ({"x": torch.randn(4, 2, 2)}, {}, r"or a map \[B, C, H, W\]"),
        ({"x": torch.randn(4, 2), "batch": torch.tensor([0, 1, 0, 1])}, {}, "ascending"),
        ({"x": torch.randn(4, 2), "batch": torch.tensor([0, 1])}, {}, "4 rows but batch has shape"),
        (
            {"x": torch.randn(3, 2)},
            {},
            r"of size \[3\] on the student's side and \[4\] .*compare the maps.* instead of rows",
        ),
        ({"x": torch.randn(1, 2, 3, 4)}, {"x": torch.randn(1, 2, 4, 3)}, r"\[1, 3, 4\] .* \[1, 4, 3\]"),
        ({"x": torch.randn(4, 2), "n_id": torch.arange(4)}, {"n_id": torch.arange(4) + 1}, "n_id .* differ"),
    ],
)
def test_bad_sides(student, teacher, message):
    with pytest.raises(DataError, match=message):
        paired_elements(Structure(**student), Structure(**({"x": torch.randn(4, 2)} | teacher)), "x", "A")
