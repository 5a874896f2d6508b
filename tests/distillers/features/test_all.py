"""What the distillers of features have in common."""

import pytest
import torch

from structkd import Structure
from structkd.distillers import PKD, RKD, AttentionTransfer, ChannelWise, FitNet, SimilarityPreserving
from structkd.distillers.connectors import Connector
from structkd.errors import DataError

WIDE, THIN = 6, 4
BUILD = {
    "FitNet": lambda s=WIDE, **k: FitNet(s, WIDE, **k),
    "AttentionTransfer": lambda s=WIDE, **k: AttentionTransfer(**k),
    "SimilarityPreserving": lambda s=WIDE, **k: SimilarityPreserving(**k),
    "RKD": lambda s=WIDE, **k: RKD(elements=50, **k),
    "ChannelWise": lambda s=WIDE, **k: ChannelWise(s, WIDE, **k),
    "PKD": lambda s=WIDE, **k: PKD(s, WIDE, **k),
}
each = pytest.mark.parametrize("name", sorted(BUILD))
on_rows = pytest.mark.parametrize("name", sorted(BUILD.keys() - {"SimilarityPreserving"}))
#: Those whose losses are means over samples that do not look at each other.
by_sample = pytest.mark.parametrize("name", sorted(BUILD.keys() - {"SimilarityPreserving", "PKD"}))


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def build(name, channels=WIDE, **options):
    torch.manual_seed(0)
    return BUILD[name](channels, **options).double()


def rows(x, batch, **fields):
    return Structure(x, batch=batch, **fields)


def total(distiller, student, teacher):
    distiller.eval()
    return sum(distiller(student, teacher).values())


@each
def test_zero_at_equality(name):
    distiller = build(name)
    for module in distiller.modules():
        if isinstance(module, Connector):
            torch.nn.init.eye_(module.weight)
            torch.nn.init.zeros_(module.bias)
    neck = double(2, WIDE, 4, 5)
    assert total(distiller, Structure(neck=neck), Structure(neck=neck)).abs() < 1e-14
    assert total(distiller, Structure(neck=neck), Structure(neck=double(2, WIDE, 4, 5))) > 1e-6


@each
def test_a_thinner_student_on_a_coarser_grid_learns(name):
    distiller, neck = build(name, THIN), double(2, THIN, 3, 4).requires_grad_()
    teacher = double(2, WIDE, 6, 8).requires_grad_()
    total(distiller, Structure(neck=neck), Structure(neck=teacher)).backward()
    assert neck.grad.abs().max() > 0 and teacher.grad is None
    assert all(p.grad.abs().max() > 0 for p in distiller.parameters())


@by_sample
def test_a_scene_is_judged_alike_beside_any_other(name):
    distiller = build(name, THIN)
    scenes = [(Structure(neck=double(1, THIN, 4, 5)), Structure(neck=double(1, WIDE, 4, 5))) for _ in range(3)]
    together = [Structure(neck=torch.cat([pair[side].neck for pair in scenes])) for side in (0, 1)]
    assert torch.allclose(total(distiller, *together), sum(total(distiller, *pair) for pair in scenes) / 3)


@by_sample
def test_a_sparse_scene_is_judged_alike_beside_any_other(name):
    distiller = build(name, THIN, field="x")
    sizes, parts = (7, 30), []
    for index, size in zip((0, 2), sizes):  # scene 1 is empty
        batch = torch.full((size,), index)
        parts.append((rows(double(size, THIN), batch), rows(double(size, WIDE), batch)))
    together = [
        rows(torch.cat([p[side].x for p in parts]), torch.cat([p[side].batch for p in parts])) for side in (0, 1)
    ]
    assert torch.allclose(total(distiller, *together), sum(total(distiller, *pair) for pair in parts) / 2)


@on_rows
def test_a_map_is_its_cells(name):
    neck_s, neck_t = double(2, THIN, 4, 5), double(2, WIDE, 4, 5)
    batch = torch.arange(2).repeat_interleave(20)
    cells = [rows(neck.permute(0, 2, 3, 1).reshape(40, -1), batch) for neck in (neck_s, neck_t)]
    dense = total(build(name, THIN), Structure(neck=neck_s), Structure(neck=neck_t))
    assert torch.allclose(total(build(name, THIN, field="x"), *cells), dense)


@on_rows
def test_the_order_of_elements_does_not_matter(name):
    distiller, batch = build(name, THIN, field="x"), torch.tensor([0] * 8 + [1] * 12)
    x_s, x_t = double(20, THIN), double(20, WIDE)
    order = torch.cat([torch.randperm(8), 8 + torch.randperm(12)])
    first = total(distiller, rows(x_s, batch), rows(x_t, batch))
    assert torch.allclose(total(distiller, rows(x_s[order], batch), rows(x_t[order], batch)), first)


@on_rows
def test_only_masked_elements_count(name):
    distiller, mask = build(name, THIN, field="x"), torch.arange(9) % 3 != 1
    batch, x_s, x_t = torch.tensor([0] * 5 + [1] * 4), double(9, THIN), double(9, WIDE)
    whole = total(distiller, rows(x_s, batch, mask=mask), rows(x_t, batch))
    part = total(distiller, rows(x_s[mask], batch[mask]), rows(x_t[mask], batch[mask]))
    assert torch.allclose(whole, part)


@on_rows
@pytest.mark.parametrize("count", [0, 1])
def test_empty_and_single(name, count):
    distiller, x = build(name, THIN, field="x"), double(count, THIN).requires_grad_()
    batch = torch.zeros(count, dtype=torch.long)
    value = total(distiller, rows(x, batch), rows(double(count, WIDE), batch))
    value.backward()
    assert bool(torch.isfinite(value)) and bool(torch.isfinite(x.grad).all())
    assert count or value == 0
    assert name == "FitNet" or value.abs() < 1e-13  # one element has no relation to any other


@each
def test_an_empty_batch_of_maps(name):
    neck = double(0, THIN, 4, 5).requires_grad_()
    value = total(build(name, THIN), Structure(neck=neck), Structure(neck=double(0, WIDE, 4, 5)))
    value.backward()
    assert value == 0


@each
def test_the_scores_of_a_head_are_a_map(name):
    distiller = build(name)
    z_s, z_t = double(2, 2, 3, 4, 5), double(2, 2, 3, 4, 5)
    maps = [Structure(neck=z.flatten(1, 2)) for z in (z_s, z_t)]
    assert torch.equal(total(distiller, Structure(neck=z_s), Structure(neck=z_t)), total(distiller, *maps))


@each
def test_half_precision(name):
    """Beside a teacher in float32, as under autocast."""
    distiller = build(name)
    student, teacher = Structure(neck=double(2, WIDE, 9, 9).bfloat16()), Structure(neck=double(2, WIDE, 9, 9).float())
    expected = total(distiller, Structure(neck=student.neck.double()), Structure(neck=teacher.neck.double()))
    value = total(distiller.bfloat16(), student, teacher)
    assert value.dtype == torch.float32 and torch.allclose(value.double(), expected, rtol=0.05)


@on_rows
def test_rows_of_other_elements_are_refused(name):
    x_s, x_t, batch = double(5, THIN), double(5, WIDE), torch.zeros(5, dtype=torch.long)
    distiller = build(name, THIN, field="x")
    with pytest.raises(DataError, match=f"{name}: n_id"):
        distiller(rows(x_s, batch, n_id=torch.arange(5)), rows(x_t, batch, n_id=torch.arange(1, 6)))
    with pytest.raises(DataError, match=f"{name}: x"):
        distiller(rows(x_s, batch), rows(double(4, WIDE), batch[:4]))
    with pytest.raises(DataError, match=f"{name}: x is of 2 samples"):
        distiller(Structure(double(2, THIN, 3, 3)), Structure(double(3, WIDE, 3, 3)))
