import math

import pytest
import torch

from structkd.evaluation.routing import RoutingCounts

EXPERT = torch.tensor([[0, 1], [0, 1], [0, 2], [1, 0]])
KEPT = torch.tensor([[True, True], [True, False], [True, True], [True, False]])
PROBS = torch.tensor([[0.5, 0.5, 0], [1, 0, 0], [0.5, 0, 0.5], [0, 1, 0]])


def test_by_hand_and_in_batches():
    whole, parts = RoutingCounts(3), RoutingCounts(3)
    label = torch.tensor([0, 0, 1, -1])
    whole.add(EXPERT, KEPT, PROBS, label)
    for row in range(4):
        parts.add(EXPERT[row : row + 1], KEPT[row : row + 1], PROBS[row : row + 1], label[row : row + 1])
    found = whole.summary()
    assert found["load"] == pytest.approx([3 / 6, 2 / 6, 1 / 6]) and found["dropped"] == pytest.approx(2 / 8)
    shares = -(0.5 * math.log(0.5) + math.log(1 / 3) / 3 + math.log(1 / 6) / 6)
    assert found["evenness"] == pytest.approx(shares / math.log(3))
    assert found["entropy"] == pytest.approx(2 * math.log(2) / 4 / math.log(3))
    assert found["by_class"] == [pytest.approx([2 / 3, 1 / 3, 0]), pytest.approx([1 / 2, 0, 1 / 2])]
    for name in ("load", "evenness", "entropy", "dropped", "class_information"):
        assert parts.summary()[name] == pytest.approx(found[name])


def test_information_about_the_class():
    told, silent = RoutingCounts(2), RoutingCounts(2)
    kept, probs = torch.ones(4, 1, dtype=torch.bool), torch.full((4, 2), 0.5)
    told.add(torch.tensor([[0], [0], [1], [1]]), kept, probs, torch.tensor([0, 0, 1, 1]))
    silent.add(torch.tensor([[0], [1], [0], [1]]), kept, probs, torch.tensor([0, 0, 1, 1]))
    assert told.summary()["class_information"] == pytest.approx(math.log(2))
    assert silent.summary()["class_information"] == pytest.approx(0, abs=1e-12)
    assert told.summary()["evenness"] == pytest.approx(1) and told.summary()["entropy"] == pytest.approx(1)


def test_nothing_seen_and_one_expert():
    assert RoutingCounts(3).summary() == {"load": [0, 0, 0], "evenness": 0, "entropy": 0, "dropped": 0}
    one = RoutingCounts(1)
    one.add(torch.zeros(2, 1, dtype=torch.long), torch.ones(2, 1, dtype=torch.bool), torch.ones(2, 1))
    assert one.summary() == {"load": [1], "evenness": 1, "entropy": 0, "dropped": 0}
