import pytest
import torch

from structkd.engine.metrics import Accuracy, LinkRanking


def test_accuracy_a_split_over_several_batches():
    metric = Accuracy(production_rate=0.25)
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    metric.process(None, [{"logits": logits, "y": torch.tensor([0, 1, 1]), "splits": {"test": torch.arange(2)}}])
    metric.process(
        None,
        [
            {
                "logits": logits,
                "y": torch.tensor([1, 1, 1]),
                "splits": {"test": torch.arange(2), "ind": torch.tensor([2])},
            }
        ],
    )
    metrics = metric.evaluate(1)
    assert metrics == {"test/accuracy": 0.75, "ind/accuracy": 0.0, "prod/accuracy": pytest.approx(0.75 * 0.75)}
    assert metric.results == []


def test_accuracy_of_label_matrices_counts_entries():
    metric = Accuracy()
    y = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    logits = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    metric.process(None, [{"logits": logits, "y": y, "splits": {"val": torch.arange(2)}}])
    assert metric.evaluate(1) == {"val/accuracy": 0.75}


def test_link_ranking_by_hand():
    # True links score 5 and 2, false ones 4, 3 and 1; the candidate without a label is in no split.
    scores, y = torch.tensor([5.0, 2.0, 4.0, 3.0, 1.0, 9.0]), torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, -1.0])
    splits = {"test": torch.arange(5), "old_new": torch.tensor([1, 2, 3, 4]), "new_new": torch.tensor([2, 3, 4])}
    metric = LinkRanking(hits=(1, 3))
    metric.process(None, [{"logits": scores[:, None], "y": y, "splits": splits}])
    metrics = metric.evaluate(1)
    assert metrics["test/hits@1"] == 0.5  # only 5 is above 4
    assert metrics["test/hits@3"] == 1.0  # both are above 1
    assert metrics["test/mrr"] == pytest.approx((1 + 1 / 3) / 2)
    assert metrics["test/auc"] == pytest.approx((3 + 1) / 6)
    assert metrics["old_new/hits@1"] == 0.0
    assert metrics["old_new/mrr"] == pytest.approx(1 / 3)
    assert not [name for name in metrics if name.startswith("new_new")]  # nothing true to rank
