import pytest
import torch
from torch import nn

from structkd.errors import ConfigError, WiringError
from structkd.models import narrow_


def chain(width, groups=1):
    """Two layers whose channels follow from `width`, and a head that reads `groups` joined copies."""
    return nn.Sequential(
        nn.Conv2d(3, width, 1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 1),
        nn.Conv2d(width * groups, 2, 1),
    )


class Joined(nn.Module):
    """Two branches whose maps are joined before the head."""

    def __init__(self, width):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, width, 1), nn.Conv2d(3, width, 1)
        self.head = nn.Conv2d(2 * width, 2, 1)

    def forward(self, x):
        return self.head(torch.cat([self.left(x), self.right(x)], 1))


def test_leading_channels_of_every_parameter_and_buffer():
    teacher, student = chain(6), chain(4)
    teacher[1].running_mean.normal_()
    teacher[1].num_batches_tracked.fill_(7)
    assert narrow_(student, teacher) is student
    assert torch.equal(student[0].weight, teacher[0].weight[:4])
    assert torch.equal(student[1].running_mean, teacher[1].running_mean[:4])
    assert torch.equal(student[3].weight, teacher[3].weight[:4, :4])
    assert torch.equal(student[4].bias, teacher[4].bias) and student[1].num_batches_tracked == 7


def test_channels_the_teacher_does_not_use_may_go():
    """With its later channels silent, a teacher and the student cut from it compute the same."""
    teacher, student, x = chain(6).eval(), chain(4).eval(), torch.randn(2, 3, 5, 5)
    with torch.no_grad():
        for weight in (teacher[3].weight, teacher[4].weight):
            weight[:, 4:] = 0
    assert torch.allclose(narrow_(student, teacher)(x), teacher(x), atol=1e-6)


def test_joined_maps_are_cut_part_by_part():
    teacher, student, x = Joined(6), Joined(4), torch.randn(2, 3, 5, 5)
    with torch.no_grad():
        teacher.head.weight.unflatten(1, (2, 6))[:, :, 4:] = 0
    narrow_(student, teacher, concatenated={"head.*": 2})
    assert torch.allclose(student(x), teacher(x), atol=1e-6)
    narrow_(student, teacher)  # the leading 8 of 12: the whole left map and a third of the right one
    assert not torch.allclose(student(x), teacher(x), atol=1e-3)


def test_an_equal_student_becomes_the_teacher():
    teacher, student = chain(4), chain(4)
    narrow_(student, teacher, concatenated={"4.*": 2})
    assert all(torch.equal(value, teacher.state_dict()[name]) for name, value in student.state_dict().items())


def test_pairs_that_do_not_fit_leave_the_student_as_it_was():
    student = chain(4)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    deeper = nn.Sequential(*chain(6), nn.Conv2d(2, 2, 1))
    for teacher, message in ((chain(3), r"'0.weight' has shape \(4, 3, 1, 1\)"), (deeper, "only the teacher has '5")):
        with pytest.raises(WiringError, match=message):
            narrow_(student, teacher)
    for concatenated, message in (
        ({"neck.*": 2}, "matches no parameter"),
        ({"4.*": 0}, "expected 1 or more"),
        ({"4.*": 4}, "do not make 6 and 4"),
    ):
        with pytest.raises(ConfigError, match=message):
            narrow_(student, chain(6), concatenated)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
