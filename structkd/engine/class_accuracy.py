"""Accuracy of a classification with many classes: top 1, top 5, and of classes with many and with few examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from structkd.engine.metrics import SplitMetric

#: From this number of classes on, the five best guesses say something.
TOP5_CLASSES = 10
#: What the names of splits begin with that are shown in a results file only: corrupted test images.
DETAIL = "detail/"


def shot_groups(counts: Tensor) -> dict[str, Tensor]:
    """The classes by their number of training examples `counts` [K]: "many" (above 100), "medium" (20 to 100), "few".

    Source: Liu et al., "Large-Scale Long-Tailed Recognition in an Open World", CVPR 2019 (arXiv:1904.05160).
    """
    masks = {"many": counts > 100, "medium": (counts >= 20) & (counts <= 100), "few": counts < 20}
    return {name: mask.nonzero().view(-1) for name, mask in masks.items() if bool(mask.any())}


class ClassAccuracy(SplitMetric):
    """`<split>/accuracy`; `<split>/top5` with ten or more classes; `<split>/accuracy <group>` of groups of classes.

    `corrupted/accuracy` is the mean accuracy of the splits whose names begin with "detail/", of which nothing but the
    accuracy is given. All from 0 to 1. A group's accuracy is the mean over its classes; classes without an example in
    the split are left out. One metric for all, because each metric of a test runs the model once more.

    Args:
        num_classes: K.
        groups: name -> classes, see `shot_groups`.
    """

    def __init__(self, num_classes: int, groups: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.num_classes, self.groups = num_classes, dict(groups or {})

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        for sample in data_samples:
            best = sample["logits"].topk(min(5, self.num_classes), dim=1).indices.cpu()
            hits = best == sample["y"].cpu().unsqueeze(1)
            for split, rows in sample["splits"].items():
                rows = rows.cpu()
                self.results.append((split, sample["y"].cpu()[rows], hits[rows]))

    def compute_metrics(self, results: list[tuple[str, Tensor, Tensor]]) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for split in dict.fromkeys(name for name, _, _ in results):
            y = torch.cat([labels for name, labels, _ in results if name == split])
            hits = torch.cat([rows for name, _, rows in results if name == split])
            if not y.numel():
                continue
            metrics[f"{split}/accuracy"] = float(hits[:, 0].double().mean())
            if split.startswith(DETAIL):
                continue
            if self.num_classes >= TOP5_CLASSES:
                metrics[f"{split}/top5"] = float(hits.any(1).double().mean())
            count = torch.bincount(y, minlength=self.num_classes)
            right = torch.bincount(y[hits[:, 0]], minlength=self.num_classes) / count  # NaN where there is none
            for name, classes in self.groups.items():
                known = classes[count[classes] > 0]
                if known.numel():
                    metrics[f"{split}/accuracy {name}"] = float(right[known].double().mean())
        corrupted = [value for name, value in metrics.items() if name.startswith(DETAIL)]
        return metrics | ({"corrupted/accuracy": sum(corrupted) / len(corrupted)} if corrupted else {})
