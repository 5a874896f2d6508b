"""Metrics as the runner's evaluator calls them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric

__all__ = ["NodeAccuracy"]


class NodeAccuracy(BaseMetric):
    """Share of correctly classified nodes, per split, as `<split>/accuracy` in 0..1.

    For 0/1 label matrices a label counts as predicted when its logit is positive, and each entry counts.

    Args:
        production_rate: share of held-out nodes in production; where the splits `test` (nodes the teacher saw
            without labels) and `ind` (nodes nobody saw) are both there, `prod` is
            `(1 - rate) * test + rate * ind`, as in GLNN's production setting.
    """

    default_prefix = ""  # names are complete as they are

    def __init__(self, production_rate: float = 0.2) -> None:
        super().__init__(collect_device="cpu")
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

    def evaluate(self, size: int) -> dict[str, float]:
        """Every process evaluates the whole graph, so nothing is collected across processes."""
        metrics = self.compute_metrics(self.results)
        self.results.clear()
        return metrics
