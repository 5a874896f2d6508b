"""Rows and relations that a mask lets through."""

import pytest
import torch

from structkd import Structure
from structkd.distillers.rows import distilled_edges, distilled_pair, distilled_rows
from structkd.errors import WiringError

EDGES = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])


def test_rows_without_a_mask_or_with_a_full_one_are_not_copied():
    x = torch.randn(4, 2)
    assert distilled_rows(Structure(x), x)[0] is x
    assert distilled_rows(Structure(x, mask=torch.ones(4, dtype=torch.bool)), x)[0] is x


def test_a_mask_picks_the_same_rows_of_every_tensor():
    x, y = torch.randn(4, 2), torch.arange(4)
    rows, ids = distilled_rows(Structure(x, mask=torch.tensor([True, False, False, True])), x, y)
    assert torch.equal(rows, x[[0, 3]]) and ids.tolist() == [0, 3]


def test_a_mask_of_the_parts_of_samples_leaves_samples_alone():
    logits, x = torch.randn(2, 3), torch.randn(4, 2)
    mask = torch.tensor([True, False, False, True])
    rows, whole = distilled_rows(Structure(x, batch=torch.tensor([0, 0, 1, 1]), mask=mask), x, logits)
    assert rows.shape == (2, 2) and whole is logits
    with pytest.raises(IndexError):  # without batch the lengths are a mistake
        distilled_rows(Structure(x, mask=mask), logits)


def test_both_sides_lose_the_same_rows():
    student = Structure(neck=torch.randn(4, 2, 3, 3), n_id=torch.arange(4), mask=torch.arange(4) > 1)
    teacher = Structure(torch.randn(4, 5), classifier_weight=torch.randn(7, 5))
    s, t = distilled_pair(student, teacher)
    assert torch.equal(s.neck, student.neck[2:]) and s.n_id.tolist() == [2, 3]
    assert torch.equal(t.x, teacher.x[2:]) and torch.equal(t.classifier_weight, teacher.classifier_weight)
    whole = Structure(torch.randn(4, 2), mask=torch.ones(4, dtype=torch.bool))
    assert distilled_pair(whole, teacher) == (whole, teacher)


def test_a_mask_of_elements_leaves_samples_beside_them_alone():
    """Also where the other side has no elements at all."""
    student = Structure(
        torch.randn(6, 2), embedding=torch.randn(2, 3), image_id=torch.arange(2), mask=torch.arange(6) > 3
    )
    teacher = Structure(embedding=torch.randn(2, 5), n_id=torch.arange(2))
    assert distilled_pair(student, teacher) == (student, teacher)


def test_the_students_edges_come_first_and_keep_their_scale():
    scale = torch.rand(4)
    student = Structure(edge_index=EDGES, edge_scale=scale, mask=torch.tensor([True, True, False, False]))
    edges, found = distilled_edges(student, Structure(edge_index=EDGES.flip(0)), "reader")
    assert torch.equal(edges, EDGES)
    assert torch.equal(found, scale)


def test_without_a_scale_both_ends_must_be_in_the_mask():
    student = Structure(mask=torch.tensor([True, True, True, False]))
    edges, scale = distilled_edges(student, Structure(edge_index=EDGES), "reader")
    assert edges.tolist() == [[0, 1], [1, 2]] and scale is None


def test_no_edges_anywhere_is_an_error_that_names_both_sides():
    with pytest.raises(WiringError, match=r"reader .* edge_index .*student provides only logits.*teacher only x"):
        distilled_edges(Structure(logits=torch.zeros(1, 1)), Structure(torch.zeros(1, 1)), "reader")
