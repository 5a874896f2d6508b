"""The first epochs of a loss that would overrun a student that knows nothing yet."""

from __future__ import annotations


def warm_up(epoch: int, epochs: int) -> float:
    """Share of a loss in the given 0-based epoch: rises in equal steps to 1 over the first `epochs` (0: always 1)."""
    return min((epoch + 1) / epochs, 1.0) if epochs > 0 else 1.0
