import pytest
import torch

from structkd import Structure
from structkd.distillers import ITKD
from structkd.distillers.points.itkd import head_outputs, self_attention, transfer
from structkd.distillers.points.objects import ObjectCells
from structkd.errors import ConfigError, DataError

RANGE = (0, 0, -3, 10, 8, 1)
BOXES = torch.tensor([[2.5, 2.5, -1, 3, 2, 1.5, 0.3], [8.5, 6.5, -1, 1, 1, 1.7, 0.1], [5.5, 3.5, -1, 4, 2, 1.5, 2]])
THIN, WIDE, COLUMNS = 3, 5, 3 + 8


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def targets(batch=(0, 0, 1)):
    return {"boxes": BOXES[: len(batch)], "labels": torch.arange(len(batch)), "boxes_batch": torch.tensor(batch).long()}


def side(channels, scenes=2, **fields):
    head = {"logits": double(scenes, 1, 3, 8, 10), "box_map": double(scenes, 1, 8, 8, 10)}
    return Structure(neck=double(scenes, channels, 8, 10), **head, **fields)


def build(student=THIN, teacher=WIDE, **options):
    torch.manual_seed(0)
    return ITKD(student, teacher, hidden=(4, 2), point_range=RANGE, **options).double()


def at(f, cells):
    return torch.stack([f[b, :, i, j] for b, i, j in cells])


def test_terms_against_the_formulas():
    student, teacher = side(THIN, **targets()), side(WIDE)
    distiller = build(head_channels=COLUMNS)
    losses = distiller(student, teacher)

    def layer(conv, x):
        return torch.einsum("oc,bchw->bohw", conv.weight, x) + conv.bias[:, None, None]

    def encode(x):
        return layer(distiller.encoder[2], layer(distiller.encoder[0], x).relu())

    def decode(x):
        return layer(distiller.decoder[2], layer(distiller.decoder[0], x).relu())

    lifted = layer(distiller.lift, student.neck)
    code_s, code_t = encode(lifted), encode(teacher.neck)
    assert torch.allclose(losses["code"], (code_s - code_t).abs().mean())
    expected = 0
    for decoded, f in ((layer(distiller.lift, decode(code_s)), teacher.neck), (decode(code_t), student.neck)):
        squared = (decoded - f).square().mean(1)
        objects = ((squared[0, 2, 2] + squared[0, 6, 8]) / 2 + squared[1, 3, 5]) / 2
        expected = expected + (decoded - f).abs().mean() + objects
    assert torch.allclose(losses["interchange"], expected)

    def attended(s, cells):
        scores, box = at(s.logits[:, 0], cells).sigmoid(), at(s.box_map[:, 0], cells)
        groups = [torch.cat([scores, box], 1), scores, box[:, :2], box[:, 2:3], box[:, 3:6], box[:, 6:]]
        mixed = [x @ torch.softmax(x.T @ x / len(cells) ** 0.5, 0) for x in groups]
        return torch.cat(mixed, 1) @ distiller.mix.weight.T + distiller.mix.bias

    expected = 0
    for cells in ([(0, 2, 2), (0, 6, 8)], [(1, 3, 5)]):
        expected = expected + (attended(student, cells) - attended(teacher, cells)).abs().sum(1).mean() / 2
    assert torch.allclose(losses["attention"], expected)


def test_zero_at_equality_but_for_the_decoder():
    student = side(WIDE, **targets())
    distiller = build(WIDE, WIDE, head_channels=COLUMNS)
    torch.nn.init.eye_(distiller.lift.weight)
    torch.nn.init.zeros_(distiller.lift.bias)
    losses = distiller(student, student)
    assert losses["code"] == 0 and losses["attention"] == 0 and losses["interchange"] > 0.1


def test_branches_of_heads():
    cells = ObjectCells(*(torch.tensor([index]) for index in (1, 0, 2, 3, 2)))
    for anchors, columns, sizes in ((1, 8, [3, 2, 1, 3, 2]), (1, 10, [3, 2, 1, 3, 2, 2]), (2, 7, [6, 4, 2, 6, 2])):
        logits, box_map = double(2, anchors, 3, 4, 5), double(2, anchors, columns, 4, 5)
        parts = head_outputs(Structure(logits=logits, box_map=box_map), cells)
        assert [part.size(1) for part in parts] == sizes
        assert torch.equal(parts[0][0], logits[1, :, :, 2, 3].sigmoid().flatten())
        assert torch.equal(parts[3][0], box_map[1, :, 3:6, 2, 3].flatten())


def test_attention_mixes_columns_and_keeps_the_order_of_objects():
    parts, order = [double(6, 2), double(6, 3)], torch.randperm(6)
    out = self_attention(parts)
    assert out.shape == (6, 10)
    assert torch.allclose(self_attention([part[order] for part in parts]), out[order])
    single = [double(4, 1)]
    assert torch.allclose(self_attention(single), torch.cat(single * 2, 1))  # one column attends to itself
    x = double(3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: self_attention([a]), x)


def test_gradient_of_the_transfer():
    cells = ObjectCells(*(torch.tensor(index) for index in ([0, 1], [0, 0], [1, 0], [0, 1], [2, 2])))
    f_s, f_t = double(2, 2, 2, 2).requires_grad_(), double(2, 2, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: transfer(a, b, cells), (f_s, f_t))
    assert transfer(f_s, f_s, cells) == 0


def test_without_objects_the_maps_still_teach():
    none = {"boxes": BOXES[:0], "labels": torch.zeros(0).long(), "boxes_batch": torch.zeros(0).long()}
    student, teacher = side(THIN, **none), side(WIDE)
    student.neck.requires_grad_()
    distiller = build(head_channels=COLUMNS)
    losses = distiller(student, teacher)
    sum(losses.values()).backward()
    assert losses["attention"] == 0 and student.neck.grad.any()
    assert all(p.grad is not None for p in distiller.parameters())


def test_a_scene_is_judged_alike_beside_any_other():
    student, teacher = side(THIN, **targets()), side(WIDE)
    distiller = build(head_channels=COLUMNS)
    alone = []
    for index, rows in ((0, slice(0, 2)), (1, slice(2, 3))):
        own = {"boxes": BOXES[rows], "labels": torch.arange(3)[rows], "boxes_batch": torch.zeros(3).long()[rows]}
        maps = [{n: s[n][index : index + 1] for n in ("neck", "logits", "box_map")} for s in (student, teacher)]
        alone.append(distiller(Structure(**maps[0], **own), Structure(**maps[1])))
    for name, value in distiller(student, teacher).items():
        assert torch.allclose(value, (alone[0][name] + alone[1][name]) / 2)


def test_bad_input():
    student, teacher = side(THIN, **targets()), side(WIDE)
    with pytest.raises(DataError, match="heads have 11 channels, but head_channels is 12"):
        build(head_channels=12)(student, teacher)
    with pytest.raises(DataError, match="different grids; set head_channels=None"):
        coarse = Structure(neck=teacher.neck, logits=double(2, 1, 3, 4, 5), box_map=double(2, 1, 8, 4, 5))
        build(head_channels=COLUMNS)(student, coarse)
    with pytest.raises(DataError, match="neck has shapes"):
        build()(student, side(WIDE, scenes=3))
    for options in ({"hidden": (0,)}, {"hidden": ()}, {"head_channels": 0}, {"point_range": (1, 2)}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            ITKD(THIN, WIDE, **options)
