import pytest
import torch
import torch.nn.functional as F

from structkd import Structure
from structkd.distillers import SRRL
from structkd.errors import ConfigError, DataError


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def teacher(samples=4, **fields):
    classifier = torch.nn.Linear(6, 5).double()
    neck = double(samples, 6, 3, 3).relu()
    own = {"classifier_weight": classifier.weight, "classifier_bias": classifier.bias}
    return Structure(neck=neck, logits=classifier(neck.mean((2, 3))), **own | fields)


def test_the_two_terms():
    target = teacher()
    distiller, neck = SRRL(3, 6, feature_weight=2.0, regression_weight=0.5).double(), double(4, 3, 4, 5)
    losses = distiller(Structure(neck=neck), target)
    linear, norm = distiller.connector.linear, distiller.connector.norm
    h = torch.einsum("oc,bchw->bohw", linear.weight, neck)
    h = F.batch_norm(h, None, None, norm.weight, norm.bias, training=True, eps=norm.eps).relu().mean((2, 3))
    assert torch.allclose(losses["feature"], 2 * (h - target.neck.mean((2, 3))).square().mean())
    z = h @ target.classifier_weight.t() + target.classifier_bias
    assert torch.allclose(losses["regression"], 0.5 * (z - target.logits).square().mean())


def test_zero_where_the_student_s_image_is_the_teacher_s_map():
    target, distiller = teacher(), SRRL(6, 6).double().eval()
    torch.nn.init.eye_(distiller.connector.linear.weight)
    distiller.connector.norm.eps = 0.0
    losses = distiller(Structure(neck=target.neck), target)
    assert all(value.abs() < 1e-14 for value in losses.values())


def test_the_teacher_s_classifier_is_not_trained():
    target, student = teacher(), Structure(neck=double(4, 3, 4, 5).requires_grad_())
    target.classifier_weight.requires_grad_()
    sum(SRRL(3, 6).double()(student, target).values()).backward()
    assert student.neck.grad.abs().max() > 0 and target.classifier_weight.grad is None


def test_without_a_bias_and_on_a_subset_of_as_many_samples_as_classes():
    target = teacher(samples=5, classifier_bias=None)  # 5 samples, 5 classes: the classifier keeps all its rows
    student = Structure(neck=double(5, 3, 4, 5), mask=torch.tensor([True, True, False, True, True]))
    distiller = SRRL(3, 6).double().eval()
    kept = [0, 1, 3, 4]
    few = Structure(**target.to_dict() | {"neck": target.neck[kept], "logits": target.logits[kept]})
    masked, plain = distiller(student, target), distiller(Structure(neck=student.neck[kept]), few)
    assert all(torch.allclose(masked[key], plain[key]) for key in plain)


def test_bad_input():
    with pytest.raises(DataError, match=r"classifier_weight has shape \(5, 7\); expected \[K, 6\]"):
        SRRL(3, 6).double()(Structure(neck=double(4, 3, 4, 5)), teacher(classifier_weight=double(5, 7)))
    with pytest.raises(ConfigError, match="feature_weight=-1"):
        SRRL(3, 6, feature_weight=-1)
    student = Structure(neck=double(4, 3, 4, 5))
    assert SRRL(3, 6, feature_weight=0).double()(student, teacher()).keys() == {"regression"}
    assert SRRL(3, 6, regression_weight=0).double()(student, teacher()).keys() == {"feature"}
