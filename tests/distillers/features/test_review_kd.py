import pytest
import torch
import torch.nn.functional as F

from structkd import Structure
from structkd.distillers import ReviewKD
from structkd.errors import ConfigError, DataError
from structkd.losses import hierarchical_context

FIELDS, OURS, THEIRS = ["early", "late", "pooled"], [3, 4, 5], [6, 7, 8]


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def side(channels):
    a, b, c = channels
    return Structure(early=double(4, a, 8, 6), late=double(4, b, 4, 3), pooled=double(4, c))


def build(**options):
    torch.manual_seed(0)
    return ReviewKD(FIELDS, OURS, THEIRS, **options).double()


def normal(norm, x):
    return F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)


def test_from_deep_to_shallow():
    distiller, student, teacher = build(width=2), side(OURS), side(THEIRS)
    total, deeper = 0, None
    for field, fusion in zip(FIELDS[::-1], list(distiller.fusions)[::-1]):
        x = student[field] if field != "pooled" else student[field][:, :, None, None]
        x = normal(fusion.inward.norm, torch.einsum("oc,bchw->bohw", fusion.inward.linear.weight, x))
        if deeper is not None:
            up = F.interpolate(deeper, x.shape[-2:])
            a = torch.sigmoid(fusion.attention(torch.cat([x, up], 1)))
            x = a[:, 0:1] * x + a[:, 1:2] * up
        deeper = x
        seen = normal(fusion.norm, F.conv2d(x, fusion.outward.weight, padding=1))
        target = teacher[field] if field != "pooled" else teacher[field][:, :, None, None]
        total = total + hierarchical_context(seen, target)
    assert torch.allclose(distiller(student, teacher)["review"], total)


def test_the_deepest_level_has_no_attention_and_all_is_learned():
    distiller, student = build(), side(OURS)
    assert [fusion.attention is None for fusion in distiller.fusions] == [False, False, True]
    assert distiller.fusions[0].outward.in_channels == 5  # the student's deepest
    for field in FIELDS:
        student[field].requires_grad_()
    distiller(student, side(THEIRS))["review"].backward()
    assert all(student[field].grad.abs().max() > 0 for field in FIELDS)
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in distiller.parameters())


def test_zero_where_the_fused_map_is_the_teacher_s():
    distiller, neck = ReviewKD(["neck"], [3], [3], width=3).double().eval(), double(2, 3, 4, 4)
    fusion = distiller.fusions[0]
    torch.nn.init.eye_(fusion.inward.linear.weight)
    torch.nn.init.dirac_(fusion.outward.weight)
    fusion.norm.eps = fusion.inward.norm.eps = 0.0
    assert distiller(Structure(neck=neck), Structure(neck=neck))["review"].abs() < 1e-14


def test_warm_up():
    distiller, student, teacher = build(warm_up=4).eval(), side(OURS), side(THEIRS)
    full = distiller(student, teacher)["review"]
    for epoch, share in ((0, 0.25), (1, 0.5), (7, 1)):
        distiller.set_progress(epoch, 100)
        assert torch.allclose(distiller(student, teacher)["review"], share * full)


def test_bad_input():
    for arguments in (("neck", [3], [3]), ([], [], []), (["a", "b"], [3], [3, 3])):
        with pytest.raises(ConfigError, match="as many channels on either side as fields"):
            ReviewKD(*arguments)
    with pytest.raises(ConfigError, match="width=0"):
        build(width=0)
    with pytest.raises(ConfigError, match="warm_up=-1"):
        build(warm_up=-1)
    with pytest.raises(DataError, match="student_channels=3"):
        build()(side([4, 4, 5]), side(THEIRS))
