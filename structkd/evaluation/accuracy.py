"""Accuracy of class scores: one label an element, or several."""

from __future__ import annotations

from torch import Tensor

from structkd.errors import DataError

#: A label that says "unknown": it is never scored, nor are elements outside a mask.
UNKNOWN = -1


def accuracy(scores: Tensor, labels: Tensor, mask: Tensor | None = None) -> float:
    """Share of the known labels that the scores get right.

    Args:
        scores: [N, K] class scores of any scale (logits, probabilities).
        labels: [N] class ids, each scored by the argmax of its row; or [N, K] zeros and ones, each entry scored
            on its own by the sign of its logit (`scores > 0`). -1 marks an unknown label or entry.
        mask: [N] bool or row ids; only these rows are scored. Default: all.

    Returns:
        A fraction from 0 to 1. An argmax tie goes to the lowest class id, as in `torch.argmax` on CPU.

    Errors: `DataError` when the shapes do not fit, a label is out of range, or no known label is left.
    """
    scores, labels = _chosen(scores, labels, mask)
    known = labels != UNKNOWN
    predicted = scores.argmax(1) if labels.dim() == 1 else (scores > 0).to(labels.dtype)
    return float((predicted == labels)[known].double().mean())


def micro_f1(scores: Tensor, labels: Tensor, mask: Tensor | None = None) -> float:
    """Micro-averaged F1 over several labels an element: 2 TP / (2 TP + FP + FN).

    Takes what `accuracy` takes, with `labels` [N, K]; 0 when neither a label nor a prediction is positive.
    """
    if labels.dim() != 2:
        raise DataError(f"micro_f1 is for labels [N, K] of zeros and ones; got shape {tuple(labels.shape)}.")
    scores, labels = _chosen(scores, labels, mask)
    known = labels != UNKNOWN
    predicted, actual = (scores > 0)[known], (labels > 0)[known]
    hits = float((predicted & actual).sum())
    return 2 * hits / max(float(predicted.sum() + actual.sum()), 1.0)


def _chosen(scores: Tensor, labels: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The rows to be scored, after the checks that every metric here shares."""
    if scores.dim() != 2 or labels.dim() not in (1, 2) or labels.shape != scores.shape[: labels.dim()]:
        raise DataError(
            f"scores {tuple(scores.shape)} and labels {tuple(labels.shape)} do not fit; "
            "expected [N, K] with [N] or [N, K]."
        )
    if mask is not None:
        scores, labels = scores[mask], labels[mask]
    known = labels[labels != UNKNOWN]
    if known.numel() == 0:
        raise DataError(f"There is nothing to score: no known label among {labels.size(0)} chosen rows.")
    limit = scores.size(1) if labels.dim() == 1 else 2
    if int(known.min()) < 0 or int(known.max()) >= limit:
        raise DataError(
            f"labels hold values from {int(known.min())} to {int(known.max())}; "
            f"expected 0 to {limit - 1}, or -1 (unknown)."
        )
    return scores, labels
