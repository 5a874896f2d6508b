import pytest
import torch

from structkd.distillers.points.neighborhoods import importance_weights, most_important


def test_weights_follow_importance():
    importance = torch.tensor([1, 1, 2, 30])
    for kind in ("log", "zscore", "rank", "raw"):
        weight = importance_weights(importance, 1.0, kind)
        assert weight.sum() == pytest.approx(4) and weight[0] == weight[1] < weight[2] < weight[3]
    for kind in ("log", "zscore", "rank"):
        assert importance_weights(torch.full((5,), 7), 0.5, kind).tolist() == [1] * 5
        assert importance_weights(torch.full((5,), 0.1), 0.5, kind).tolist() == [1] * 5
        scaled = importance_weights(importance.double() * (1 if kind == "log" else 100), 1.0, kind)
        torch.testing.assert_close(scaled.float(), importance_weights(importance, 1.0, kind))
    tiny = importance_weights(importance.double() * 1e-9, 1.0, "zscore")
    torch.testing.assert_close(tiny.float(), importance_weights(importance, 1.0, "zscore"))
    by_hand = torch.softmax(torch.tensor([-1.0, -1.0, 0.5, 1.5]) / torch.tensor(4.5 / 4).sqrt(), 0) * 4
    torch.testing.assert_close(importance_weights(importance, 1.0, "rank"), by_hand)
    assert importance_weights(torch.tensor([-5.0, 0.0, 5.0]), 1.0, "log").isfinite().all()


def test_most_important():
    importance, x = torch.tensor([1, 5, 1, 5, 2]), torch.tensor([[3.0], [0.0], [4.0], [1.0], [9.0]])
    assert most_important(importance, x, 4).tolist() == [3, 1, 4, 2]
    assert most_important(importance, x, 0.5).tolist() == [3, 1, 4]  # rounded up
    assert len(most_important(torch.rand(30), torch.rand(30, 1), 0.1)) == 3
    assert len(most_important(importance, x, 100)) == 5 and len(most_important(importance, x, 1.0)) == 5
