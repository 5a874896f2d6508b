"""Metrics as the runner's evaluator calls them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric
from torch import Tensor

from structkd.errors import ConfigError
from structkd.evaluation.links import hits_at_k, mean_reciprocal_rank, roc_auc

__all__ = ["Accuracy", "LinkRanking"]


class SplitMetric(BaseMetric):
    """Base of metrics that give `<split>/<name>`; every process evaluates everything, so nothing is collected."""

    default_prefix = ""  # names are complete as they are

    def __init__(self) -> None:
        super().__init__(collect_device="cpu")

    def write(self, folder: Path) -> None:
        """Write what was predicted into `folder`, in the benchmark's own format."""
        raise ConfigError(f"{type(self).__name__} knows no file format for predictions.")

    def evaluate(self, size: int) -> dict[str, float]:
        metrics = self.compute_metrics(self.results)
        self.results.clear()
        return metrics


class Accuracy(SplitMetric):
    """Share of correctly classified nodes or graphs, per split, as `<split>/accuracy` in 0..1.

    For 0/1 label matrices a label counts as predicted when its logit is positive, and each entry counts.

    Args:
        production_rate: share of held-out nodes in production; where the splits `test` (nodes the teacher saw
            without labels) and `ind` (nodes nobody saw) are both there, `prod` is
            `(1 - rate) * test + rate * ind`, as in GLNN's production setting.
    """

    def __init__(self, production_rate: float = 0.2) -> None:
        super().__init__()
        self.production_rate = production_rate

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        for sample in data_samples:
            logits, y = sample["logits"], sample["y"]
            right = logits.argmax(-1) == y if y.dim() == 1 else (logits > 0) == (y > 0.5)
            for split, rows in sample["splits"].items():
                self.results.append((split, float(right[rows].sum()), right[rows].numel()))

    def compute_metrics(self, results: list[tuple[str, float, int]]) -> dict[str, float]:
        right: dict[str, float] = {}
        count: dict[str, int] = {}
        for split, correct, size in results:
            right[split] = right.get(split, 0.0) + correct
            count[split] = count.get(split, 0) + size
        metrics = {f"{split}/accuracy": right[split] / count[split] for split in right if count[split]}
        if "test/accuracy" in metrics and "ind/accuracy" in metrics:
            rate = self.production_rate
            metrics["prod/accuracy"] = (1 - rate) * metrics["test/accuracy"] + rate * metrics["ind/accuracy"]
        return metrics


class LinkRanking(SplitMetric):
    """How a split's true links rank among its false ones: `<split>/hits@K`, `<split>/mrr` and `<split>/auc`.

    A split is scored whole, in one batch; one without true or without false links is left out.

    Args:
        hits: the values of K.
    """

    def __init__(self, hits: Sequence[int] = (10, 20, 50)) -> None:
        super().__init__()
        self.hits = tuple(hits)

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        for sample in data_samples:
            scores, y = sample["logits"].reshape(-1).cpu(), sample["y"].cpu()
            for split, rows in sample["splits"].items():
                rows = rows.cpu()
                self.results.append((split, scores[rows[y[rows] > 0]], scores[rows[y[rows] == 0]]))

    def compute_metrics(self, results: list[tuple[str, Tensor, Tensor]]) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for split, positive, negative in results:
            if positive.numel() and negative.numel():
                metrics |= {f"{split}/hits@{k}": hits_at_k(positive, negative, k) for k in self.hits}
                metrics[f"{split}/mrr"] = mean_reciprocal_rank(positive, negative)
                metrics[f"{split}/auc"] = roc_auc(positive, negative)
        return metrics
