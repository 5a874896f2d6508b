import pytest
import torch

from structkd import Structure
from structkd.distillers import IRG
from structkd.errors import ConfigError
from structkd.losses import instance_edges, instance_transform


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def side(width):
    return Structure(
        logits=double(5, 3), early=double(5, width, 6, 6), late=double(5, 2 * width, 3, 3), pooled=double(5, 2 * width)
    )


def test_the_three_terms():
    student, teacher = side(2), side(4)
    distiller = IRG(["early", "pooled"], [("early", "late"), ("late", "pooled")], 0.5, 3.0, 2.0)
    losses = distiller(student, teacher)
    assert torch.allclose(losses["vertex"], 0.5 * (student.logits - teacher.logits).square().mean())
    edges = [(instance_edges(student[f]) - instance_edges(teacher[f])).square().mean() for f in ("early", "pooled")]
    assert torch.allclose(losses["edge"], 3 * sum(edges) / 2)
    moved = [
        (instance_transform(student[a], student[b]) - instance_transform(teacher[a], teacher[b])).square().mean()
        for a, b in (("early", "late"), ("late", "pooled"))
    ]
    assert torch.allclose(losses["transform"], 2 * sum(moved) / 2)
    assert distiller.reads == {"logits", "early", "late", "pooled"}


def test_zero_at_equality_and_edges_up_to_rotation_shift_and_scale():
    teacher = side(4)
    distiller = IRG(["early", "pooled"], [("early", "late")])
    assert all(value == 0 for value in distiller(teacher, teacher).values())
    rotation, _ = torch.linalg.qr(double(8, 8))
    student = Structure(**teacher.to_dict() | {"pooled": 2 * teacher.pooled @ rotation + 1})
    assert distiller(student, teacher)["edge"].abs() < 1e-14


def test_terms_left_out_are_not_read():
    assert IRG(["late"], vertex_weight=0).reads == {"late"}
    assert IRG(["late"], [("early", "late")], edge_weight=0, vertex_weight=0).reads == {"early", "late"}
    assert IRG((), [("early", "late")], transform_weight=0).reads == {"logits"}
    student, teacher = side(2), side(4)
    assert IRG(["late"], vertex_weight=0)(student, teacher).keys() == {"edge"}


def test_bad_settings():
    for options in ({"fields": "late"}, {"transforms": ["ab"]}, {"transforms": [("a", "b", "c")]}):
        with pytest.raises(ConfigError, match="expected a list of names"):
            IRG(**options)
    with pytest.raises(ConfigError, match="edge_weight=-1"):
        IRG(edge_weight=-1)
    with pytest.raises(ConfigError, match="every term is left out"):
        IRG(vertex_weight=0, edge_weight=0)
