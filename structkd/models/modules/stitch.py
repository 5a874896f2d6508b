"""Stitches: what joins modules of different widths."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from structkd.errors import ConfigError, WiringError
from structkd.models.modules.view import Boundary

KINDS = ("norm", "linear", "none")


class Stitch(nn.Module):
    """A linear map of every token or cell from one width to another, after a norm on request.

    Args:
        before, after: what comes in and what must go out: both tokens or both maps, or both vectors. Maps of another
            size are resized (bilinear); the number of tokens must agree.
        kind: "norm" is a norm and a linear map (m2mKD's for V-MoE), "linear" the map alone (theirs for attentive
            circuits), "none" nothing, for equal widths. The norm is a LayerNorm; of maps a group norm with one group.

    Raises:
        ConfigError: an unknown kind, or "none" between different widths.
        WiringError: tokens and maps, or different numbers of tokens.
    """

    def __init__(self, before: Boundary, after: Boundary, kind: str = "norm") -> None:
        super().__init__()
        if kind not in KINDS:
            raise ConfigError(f"stitch='{kind}' is unknown. Available: {', '.join(KINDS)}.")
        if len(before.shape) != len(after.shape) or (len(before.shape) == 2 and before.shape[0] != after.shape[0]):
            raise WiringError(
                f"A stitch cannot turn {before.shape} into {after.shape} (shapes without the batch): it joins maps "
                "(C, h, w), or equally many tokens (N, C)."
            )
        if kind == "none" and before.channels != after.channels:
            raise ConfigError(f"stitch='none' joins equal widths, not {before.channels} and {after.channels} channels.")
        self.size = after.shape[1:] if after.is_map and after.shape[1:] != before.shape[1:] else None
        self.norm: nn.Module = nn.Identity()
        self.proj: nn.Module = nn.Identity()
        if kind == "norm":
            self.norm = nn.GroupNorm(1, before.channels) if after.is_map else nn.LayerNorm(before.channels, eps=1e-6)
        if kind != "none" and after.is_map:
            self.proj = nn.Conv2d(before.channels, after.channels, 1)
        elif kind != "none":
            self.proj = nn.Linear(before.channels, after.channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(self.norm(x))
        return x if self.size is None else F.interpolate(x, self.size, mode="bilinear", align_corners=False)
