"""The distillers on what real detectors give, read by their adapter."""

import pytest
import torch

from structkd import distillers
from structkd.adapters import DetectorAdapter
from structkd.datasets import Scenes
from structkd.models import PointPillars, narrow_

ADAPTER = DetectorAdapter("pillars", maps=("neck", "backbone_0"), head=True)
#: Channels of the pillars, the first block and the neck at width 1/8 (student) and 1/4 (teacher).
PILLARS, BLOCK, NECK = (8, 16), (8, 16), (48, 96)
BUILD = {
    "FitNet": lambda head: distillers.FitNet(*NECK),
    "FitNet on pillars": lambda head: distillers.FitNet(*PILLARS, field="x"),
    "AttentionTransfer": lambda head: distillers.AttentionTransfer("backbone_0"),
    "SimilarityPreserving": lambda head: distillers.SimilarityPreserving(),
    "RKD": lambda head: distillers.RKD("x", elements=16),
    "ChannelWise": lambda head: distillers.ChannelWise(*BLOCK, field="backbone_0"),
    "ChannelWise on scores": lambda head: distillers.ChannelWise(*[6 * 3 if head == "anchor" else 3] * 2, "logits"),
    "PKD": lambda head: distillers.PKD(*NECK),
    "LogitKD": lambda head: distillers.LogitKD(threshold=0.001),
    "SparseKD": lambda head: distillers.SparseKD(),
    "LabelKD": lambda head: distillers.LabelKD(scores=0.001),
    "ITKD": lambda head: distillers.ITKD(*NECK, head_channels=6 * (3 + 7) if head == "anchor" else 3 + 8),
}


def model(width, head):
    torch.manual_seed(int(100 * width))
    return PointPillars(
        width=width,
        point_range=(0, -5.12, -3, 10.24, 5.12, 1),
        voxel_size=(0.32, 0.32, 4),
        layer_nums=(1, 1, 1),
        head=head,
        head_options={"score_threshold": 0.0},
    )


@pytest.fixture(scope="module")
def scenes():
    generator = torch.Generator().manual_seed(0)
    low, size = torch.tensor([0, -5.0, -2, 0]), torch.tensor([10.0, 10, 2, 1])
    return Scenes(
        points=low + size * torch.rand(600, 4, generator=generator),
        batch=torch.arange(3).repeat_interleave(200),
        num_scenes=3,
        boxes=torch.tensor(
            [[4.0, 1, -1.7, 3.9, 1.6, 1.5, 0.2], [8, -3, -1.7, 0.8, 0.6, 1.7, 1], [5, 0, -2, 2, 1, 2, 3]]
        ),
        labels=torch.tensor([0, 1, 2]),
        boxes_batch=torch.tensor([0, 0, 2]),  # nothing is labelled in scene 1
        n_id=torch.arange(3),
    )


@pytest.fixture(scope="module", params=["anchor", "center"])
def teacher(request, scenes):
    with torch.no_grad():
        return request.param, ADAPTER(model(0.25, request.param).eval(), scenes)


@pytest.mark.parametrize("name", sorted(BUILD))
def test_students_of_detectors_learn(name, teacher, scenes):
    head, target = teacher
    student, distiller = model(0.125, head), BUILD[name](head)
    parameters = [*student.parameters(), *distiller.parameters()]
    optimizer, totals = torch.optim.Adam(parameters, lr=1e-3), []
    for _ in range(6):
        losses = distiller(ADAPTER(student, scenes), target)
        totals.append(sum(losses.values()))
        optimizer.zero_grad()
        totals[-1].backward()
        optimizer.step()
    assert all(bool(torch.isfinite(p).all()) for p in parameters)
    assert any(p.grad is not None and bool(p.grad.any()) for p in student.parameters())
    assert totals[-1] < totals[0]


def test_a_detector_is_narrowed(scenes):
    teacher, student = model(0.25, "anchor"), model(0.125, "anchor")
    narrow_(student, teacher, concatenated={"head.*": 3})
    assert torch.equal(student.head.conv_cls.weight[:, 16:32], teacher.head.conv_cls.weight[:, 32:48])
    assert all(bool(torch.isfinite(loss)) for loss in _losses(student, scenes).values())


def _losses(student, scenes):
    return student(scenes).loss(scenes.boxes, scenes.labels, scenes.boxes_batch)
