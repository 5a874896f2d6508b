import math

import pytest
import torch
import torch.nn.functional as F

from structkd import Structure
from structkd.distillers import CRD
from structkd.errors import ConfigError, DataError

N_ID, Y = torch.tensor([3, 0, 7, 5]), torch.tensor([1, 0, 1, 2])


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def build(**options):
    torch.manual_seed(0)
    return CRD(4, 6, **{"num_data": 9, "channels": 3, "negatives": 11, "tau": 0.3} | options).double()


def batch(n_id=N_ID, y=Y):
    return Structure(embedding=double(len(n_id), 4), n_id=n_id, y=y), Structure(embedding=double(len(n_id), 6))


def by_loops(distiller, student, teacher, log_z=None):
    """Equation 18, one sample and one negative at a time. Returns the loss and both partition constants."""
    memory = distiller.memory
    rows, counts = memory.draw(student.n_id, student.y)
    rows = rows.tolist()
    total, constants = 0, []
    embedded = (
        F.normalize(distiller.embed_student(student.embedding), dim=1),
        F.normalize(distiller.embed_teacher(teacher.embedding), dim=1),
    )
    for side, bank in ((0, memory.teacher), (1, memory.student)):
        own, drawn = [], []
        for i, anchor in enumerate(embedded[side]):
            own.append((anchor @ bank[student.n_id[i]] / 0.3).exp())
            drawn.append([(anchor @ bank[row] / 0.3).exp() for row, c in zip(rows, counts[i]) if c])
        every = [*own, *(value for one in drawn for value in one)]
        z = 9 * sum(every) / len(every) if log_z is None else log_z[side].exp()
        constants.append(float(z.detach()))
        for real, others in zip(own, drawn):
            noise = len(others) / 9
            total = total - (real / z / (real / z + noise)).log() / 4
            total = total - sum((noise / (other / z + noise)).log() for other in others) / 4
    return total, constants


def test_against_loops():
    distiller = build().eval()
    student, teacher = batch()
    expected, constants = by_loops(distiller, student, teacher)
    assert torch.allclose(distiller(student, teacher)["contrast"], expected)
    assert not distiller.frozen  # evaluation freezes nothing
    distiller.train()
    assert torch.allclose(distiller(student, teacher)["contrast"], expected)
    assert distiller.log_z.tolist() == pytest.approx([math.log(z) for z in constants])


def test_constants_stay_those_of_the_first_batch():
    distiller = build()
    distiller(*batch())
    first = distiller.log_z.clone()
    student, teacher = batch()
    distiller.eval()
    expected, _ = by_loops(distiller, student, teacher, first)
    assert torch.allclose(distiller(student, teacher)["contrast"], expected)
    distiller.train()
    distiller(student, teacher)
    assert distiller.frozen and torch.equal(distiller.log_z, first)


def test_the_memory_follows_in_training_only():
    distiller, (student, teacher) = build(momentum=0.0), batch()
    before = distiller.memory.student.clone()
    distiller.eval()(student, teacher)
    assert torch.equal(distiller.memory.student, before)
    distiller.train()(student, teacher)
    assert torch.allclose(distiller.memory.student[N_ID], distiller.embed_student(student.embedding))
    assert torch.allclose(distiller.memory.teacher[N_ID], distiller.embed_teacher(teacher.embedding))
    assert distiller.memory.label[N_ID].tolist() == Y.tolist()
    untouched = [1, 2, 4, 6, 8]
    assert torch.equal(distiller.memory.student[untouched], before[untouched])


def test_a_resumed_run_goes_on_as_an_unbroken_one():
    batches = [batch(torch.randperm(9)[:4]) for _ in range(5)]
    unbroken, broken = build(), build()
    values = [unbroken(*pair)["contrast"].item() for pair in batches]
    for pair in batches[:2]:
        broken(*pair)
    resumed = build(seed=0)
    torch.nn.init.zeros_(resumed.embed_student.weight)
    resumed.load_state_dict(broken.state_dict())
    assert [resumed(*pair)["contrast"].item() for pair in batches[2:]] == values[2:]
    assert len(set(values)) == 5


def test_works_without_labels():
    distiller = build()
    student, teacher = batch()
    del student["y"]
    assert distiller(student, teacher)["contrast"] > 0
    assert distiller.memory.label.tolist() == [-1] * 9


def test_learning_brings_both_views_of_a_sample_together():
    distiller = build(negatives=20, tau=0.2)
    student, teacher = batch(torch.arange(9), torch.arange(9))
    student.embedding.requires_grad_()
    optimizer = torch.optim.Adam([student.embedding, *distiller.parameters()], 0.05)
    for _ in range(60):
        optimizer.zero_grad()
        distiller(student, teacher)["contrast"].backward()
        optimizer.step()
    scores = distiller.embed_student(student.embedding) @ distiller.embed_teacher(teacher.embedding).t()
    assert scores.argmax(1).tolist() == list(range(9))


def test_bad_input():
    student, teacher = batch(torch.tensor([1, 2, 3, 9]))
    with pytest.raises(DataError, match=r"CRD: n_id runs from 1 to 9, but the memory is for num_data=9"):
        build()(student, teacher)
    with pytest.raises(DataError, match=r"Teacher features .* teacher_channels=6"):
        build()(batch()[0], Structure(embedding=double(4, 5)))
    for options in ({"tau": 0}, {"momentum": 1.0}, {"negatives": 0}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            build(**options)
