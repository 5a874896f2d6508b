"""Objectives: the supervised loss of a task and what it predicts."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from structkd.errors import DataError
from structkd.structure import Structure

__all__ = ["Classification", "Detection", "LinkPrediction", "Objective"]


class Objective:
    """Base of every objective; `reads` names the fields it needs of the student."""

    reads: frozenset[str] = frozenset({"logits"})

    def loss(self, structure: Structure, batch: Any) -> dict[str, Tensor]:
        """Named scalar losses on what the batch has labels for."""
        raise NotImplementedError

    def predict(self, structure: Structure, batch: Any) -> list[dict[str, Any]]:
        """One dict a sample with what the metrics read; `splits` names the rows of each split."""
        return [{"logits": structure.logits, "y": batch.y, "splits": batch.splits}]


class Classification(Objective):
    """Cross entropy on labelled nodes or graphs (y >= 0), or binary cross entropy when `y` is [N, K] 0/1 floats.

    The batch's `label_scale` makes the sum over labelled rows an unbiased estimate of the mean over all
    labelled elements, so that mini-batches and processes add up to the full batch exactly.

    Args:
        label_smoothing: as in `torch.nn.functional.cross_entropy`; single-label only.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def loss(self, structure: Structure, batch: Any) -> dict[str, Tensor]:
        logits, y = structure.logits, batch.y
        if logits.size(0) != y.size(0):
            raise DataError(f"The model gave {logits.size(0)} rows of logits for {y.size(0)} labels.")
        if y.dim() == 2:
            if logits.shape != y.shape:
                raise DataError(f"The model gave logits of shape {tuple(logits.shape)} for targets {tuple(y.shape)}.")
            rows = y[:, 0] >= 0
            total = F.binary_cross_entropy_with_logits(logits[rows], y[rows].to(logits), reduction="sum")
            return {"task": total * batch.label_scale / y.size(1)}
        if y.numel() and int(y.max()) >= logits.size(1):
            raise DataError(f"The labels go up to {int(y.max())}, but the model knows {logits.size(1)} classes.")
        rows = y >= 0
        total = F.cross_entropy(logits[rows], y[rows], reduction="sum", label_smoothing=self.label_smoothing)
        return {"task": total * batch.label_scale}


class LinkPrediction(Objective):
    """Binary cross entropy on the pairs that have a label: `y` [P] is 1 (a link), 0 (none) or -1 (unlabelled).

    The model gives one score before the sigmoid a pair, [P] or [P, 1]; `label_scale` is as in `Classification`.
    """

    def loss(self, structure: Structure, batch: Any) -> dict[str, Tensor]:
        logits, y = structure.logits, batch.y
        if logits.numel() != y.numel():
            raise DataError(f"The model gave scores of shape {tuple(logits.shape)} for {y.numel()} pairs.")
        rows = y >= 0
        total = F.binary_cross_entropy_with_logits(logits.reshape(-1)[rows], y[rows].to(logits), reduction="sum")
        return {"task": total * batch.label_scale}


class Detection(Objective):
    """The detector's own loss on the labelled boxes; what it predicts are boxes, scores and labels, scene by scene."""

    reads = frozenset({"detection", "boxes", "labels", "boxes_batch"})

    def loss(self, structure: Structure, batch: Any) -> dict[str, Tensor]:
        return structure.detection.loss(batch.boxes, batch.labels, batch.boxes_batch)

    def predict(self, structure: Structure, batch: Any) -> list[dict[str, Any]]:
        """One dict a scene: `boxes` [n, 7], `scores` [n], `labels` [n], and `split` and `index`, the frame it is."""
        ids = batch.n_id.tolist()
        return [
            {"split": batch.split, "index": index, **found}
            for index, found in zip(ids, structure.detection.predict(), strict=True)
        ]
