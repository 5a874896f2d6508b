import pytest
import torch
import torch.nn.functional as F

from structkd import Structure
from structkd.distillers.memory_bank import MemoryBank
from structkd.errors import ConfigError, DataError


def bank(**options):
    return MemoryBank("CRD", **{"num_data": 6, "channels": 3, "negatives": 50, "momentum": 0.25} | options)


def test_starts_at_random_directions_fixed_by_the_seed():
    memory = bank()
    assert torch.allclose(memory.student.norm(dim=1), torch.ones(6))
    torch.manual_seed(5)
    assert torch.equal(bank().teacher, memory.teacher) and not torch.equal(memory.student, memory.teacher)
    assert not torch.equal(bank(seed=1).student, memory.student)


def test_follows_with_momentum():
    memory = bank().double()
    before, teacher = memory.student.clone(), memory.teacher.clone()
    new = F.normalize(torch.randn(2, 3, dtype=torch.float64), dim=1).requires_grad_()
    memory.update(torch.tensor([4, 1]), new, -new, torch.tensor([7, 8]))
    expected = before.clone()
    for row, vector in zip((4, 1), new.detach()):
        mixed = 0.25 * before[row] + 0.75 * vector
        expected[row] = mixed / mixed.norm()
    assert torch.allclose(memory.student, expected) and not memory.student.requires_grad
    assert torch.equal(memory.teacher[[0, 2, 3, 5]], teacher[[0, 2, 3, 5]])
    assert torch.allclose(memory.teacher[4], F.normalize(0.25 * teacher[4] - 0.75 * new[0].detach(), dim=0))
    assert memory.label.tolist() == [-1, 8, -1, -1, 7, -1]


def test_negatives_are_other_samples_of_other_classes():
    memory = bank()
    memory.label[:] = torch.tensor([0, 0, 1, 1, -1, 2])
    n_id, y = torch.tensor([0, 3, 5, 2]), torch.tensor([0, 1, 2, -1])
    rows, counts = memory.draw(n_id, y)
    assert rows.shape == (50,) and counts.shape == (4, 50) and set(rows.tolist()) == set(range(6))
    allowed = [{2, 3, 4, 5}, {0, 1, 4, 5}, {0, 1, 2, 3, 4}, {0, 1, 3, 4, 5}]  # the last has no class
    for row, expected in zip(counts, allowed):
        assert set(rows[row].tolist()) == expected
    rows, counts = memory.draw(n_id)  # no classes given
    assert set(rows[counts[0]].tolist()) == {1, 2, 3, 4, 5}


def test_what_training_never_shows_is_no_negative():
    memory, n_id = bank(), torch.tensor([1, 4])
    assert set(memory.draw(n_id)[0].tolist()) == set(range(6))  # nothing is known yet
    for ids in ([1, 4], [2, 4]):
        memory.update(torch.tensor(ids), torch.randn(2, 3), torch.randn(2, 3))
    assert memory.seen.tolist() == [False, True, True, False, True, False]
    rows, counts = memory.draw(n_id)
    assert set(rows.tolist()) == {1, 2, 4} and set(rows[counts[0]].tolist()) == {2, 4}
    other = bank()
    other.load_state_dict(memory.state_dict())
    assert set(other.draw(n_id)[0].tolist()) == {1, 2, 4}


def test_draws_go_on_after_a_checkpoint_and_stand_still_in_evaluation():
    memory, n_id = bank(), torch.tensor([0])
    first, second = memory.draw(n_id)[0], memory.draw(n_id)[0]
    other = bank(seed=0)
    other.load_state_dict(memory.state_dict())
    assert torch.equal(other.draw(n_id)[0], memory.draw(n_id)[0]) and not torch.equal(first, second)
    memory.eval()
    assert torch.equal(memory.draw(n_id)[0], memory.draw(n_id)[0]) and memory.step == 3


def test_bad_ids_and_settings():
    memory = bank()
    with pytest.raises(DataError, match=r"n_id runs from 2 to 6.*num_data=6 samples \(0 to 5\)"):
        memory.ids(Structure(n_id=torch.tensor([2, 6])), 2)
    with pytest.raises(DataError, match="n_id runs from -1"):
        memory.ids(Structure(n_id=torch.tensor([2, -1])), 2)
    with pytest.raises(DataError, match=r"shape \(2,\); expected \[3\]"):
        memory.ids(Structure(n_id=torch.tensor([2, 1])), 3)
    with pytest.raises(DataError, match=r"shape None; expected \[3\]"):
        memory.ids(Structure(), 3)
    assert memory.ids(Structure(n_id=torch.tensor([5, 0])), 2).tolist() == [5, 0]
    beside = Structure(n_id=torch.arange(8), image_id=torch.tensor([5, 0]))  # four tokens an image
    assert memory.ids(beside, 2).tolist() == [5, 0]
    for options in ({"momentum": 1}, {"num_data": 0}, {"channels": 0}, {"negatives": 0}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            bank(**options)
