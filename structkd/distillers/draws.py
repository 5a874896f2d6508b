"""Random draws that depend on a seed and on how many passes came before, not on who else draws."""

from __future__ import annotations

import torch
from torch import Tensor


def pass_generator(seed: int, step: Tensor, training: bool) -> torch.Generator:
    """The generator of pass `step`; a training pass is counted in `step`, a buffer, so that a resumed run goes on."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + int(step))
    if training:
        step += 1
    return generator
