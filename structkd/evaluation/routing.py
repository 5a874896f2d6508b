"""What a router does with its tokens: how even its load is, how sure it is, what it drops, whom it sends where."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass
class RoutingCounts:
    """Sums over the tokens that a router has seen; add batches to it.

    Attributes:
        experts: E.
        load: [E] assignments that each expert took.
        by_class: [K, E] the same, by the class of the token's sample; K is the largest class seen, plus 1.
        assignments: made, dropped ones too.
        tokens: seen.
        entropy: sum over tokens of the entropy of their probabilities, in nats.
    """

    experts: int

    def __post_init__(self) -> None:
        self.load = torch.zeros(self.experts, dtype=torch.float64)
        self.by_class = torch.zeros(0, self.experts, dtype=torch.float64)
        self.assignments = self.tokens = 0
        self.entropy = 0.0

    @torch.no_grad()
    def add(self, expert: Tensor, kept: Tensor, probs: Tensor, label: Tensor | None = None) -> None:
        """Count a batch.

        Args:
            expert: [N, k] int64, the experts of each token.
            kept: [N, k] bool, False where the expert was full.
            probs: [N, E].
            label: [N] int64 class of the sample that a token is of; below 0 it is not counted by class.
        """
        flat, taken = expert.flatten(), kept.flatten()
        self.load += torch.bincount(flat[taken], minlength=self.experts).cpu()
        self.assignments += flat.numel()
        self.tokens += probs.size(0)
        self.entropy += float(torch.special.entr(probs.double()).sum())
        if label is not None and label.numel():
            label = label[:, None].expand_as(expert).flatten()
            counted = taken & (label >= 0)
            more = int(label.max()) + 1 - self.by_class.size(0)
            self.by_class = F.pad(self.by_class, (0, 0, 0, max(more, 0)))
            cell = label[counted] * self.experts + flat[counted]
            self.by_class += torch.bincount(cell, minlength=self.by_class.numel()).view_as(self.by_class).cpu()

    def summary(self) -> dict[str, Any]:
        """`load`: each expert's share of what was taken; `evenness`: entropy of these shares / log E, 1 when all are
        equal; `entropy`: mean entropy of a token's probabilities / log E, 0 when it is sure; `dropped`: share of the
        assignments; `class_information`: nats that the expert tells about the class; `by_class`: [K][E] shares of each
        class's tokens. The last two only with labels."""
        taken, top = float(self.load.sum()), math.log(self.experts) or 1.0
        share = self.load / max(taken, 1.0)
        found: dict[str, Any] = {
            "load": share.tolist(),
            "evenness": _entropy(share) / top if self.experts > 1 else 1.0,
            "entropy": self.entropy / max(self.tokens, 1) / top,
            "dropped": 1 - taken / self.assignments if self.assignments else 0.0,
        }
        if self.by_class.sum():
            joint = self.by_class / self.by_class.sum()
            found["class_information"] = _entropy(joint.sum(0)) + _entropy(joint.sum(1)) - _entropy(joint)
            rows = self.by_class.sum(1, keepdim=True)
            found["by_class"] = (self.by_class / rows.clamp(min=1)).tolist()
        return found


def _entropy(share: Tensor) -> float:
    return float(torch.special.entr(share).sum())
