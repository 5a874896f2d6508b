"""Vector quantisation with a cosine codebook kept by moving averages."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from structkd.errors import ConfigError, nearest

#: Rows of similarities held at once while codes are looked up without gradients.
ROWS = 16384


class CosineCodebook(nn.Module):
    """A codebook of unit vectors: every row of the input is replaced by its most similar code.

    q = codes[argmax_k cos(h, codes[k])], passed straight through in training (the gradient of q goes to h
    unchanged). The codes take no gradient; in training each code that was hit moves to
    `decay * code + (1 - decay) * normalise(mean of the normalised rows assigned to it)`.
    The codebook of VQGraph (Yang et al., ICLR 2024).

    Args:
        num_codes: K.
        channels: C.
        decay: weight of the old code in the moving average.
        commitment_weight: weight of the commitment loss `mean((h - sg[q])^2)`.
        init: "uniform" (Kaiming-uniform rows, normalised) or "kmeans" (spherical k-means on the first training
            batch; codes beyond its number of rows keep their uniform start).
        revive_below: a code whose moving average of hits a batch falls below this is set to a random row of the
            batch. 0 (as published) never revives; collapse to few codes is then common.
        mode: "default" or "reference", see Differences.

    Shapes: h [N, C] -> (q [N, C], code of each row [N] int64, commitment loss, a scalar). An empty input is legal.
    `structkd.evaluation.codes` tells how evenly the codes are used.
    Randomness comes from torch's global generator. `forward` updates the codes in train mode only; several
    processes each keep their own codebook.

    Differences: the authors leave a moved code shorter than 1 (a mean of two unit vectors lies inside the sphere)
    while their similarities normalise it, so the quantised output shrinks and the assignment does not see it.
    Here codes are normalised again after each move; `mode="reference"` keeps the drift.
    """

    codes: Tensor
    hits: Tensor
    started: Tensor

    def __init__(
        self,
        num_codes: int,
        channels: int,
        decay: float = 0.8,
        commitment_weight: float = 0.25,
        init: str = "uniform",
        revive_below: float = 0.0,
        mode: str = "default",
    ) -> None:
        super().__init__()
        for word, value, known in (("init", init, ("uniform", "kmeans")), ("mode", mode, ("default", "reference"))):
            if value not in known:
                raise ConfigError(f"{word}='{value}' is not known to CosineCodebook. {nearest(value, known)}")
        if num_codes < 1:
            raise ConfigError(f"num_codes={num_codes}; a codebook needs at least 1 code.")
        self.decay, self.commitment_weight = decay, commitment_weight
        self.init, self.revive_below, self.mode = init, revive_below, mode
        self.register_buffer("codes", torch.empty(num_codes, channels))
        self.register_buffer("hits", torch.empty(num_codes))
        self.register_buffer("started", torch.tensor(False))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.codes)
        self.codes.copy_(F.normalize(self.codes, dim=1))
        # Every code starts with the hits of an even share of a batch that has one row for each code.
        self.hits.fill_(1.0)
        self.started.fill_(self.init == "uniform")

    def similarity(self, h: Tensor) -> Tensor:
        """Cosine similarities [N, K] of h [N, C] to every code; differentiable in h."""
        return F.normalize(h, dim=1) @ F.normalize(self.codes, dim=1).t()

    @torch.no_grad()
    def assign(self, h: Tensor) -> Tensor:
        """Most similar code of each row, [N] int64; holds no [N, K]."""
        if h.size(0) == 0:
            return torch.zeros(0, dtype=torch.long, device=h.device)
        return torch.cat([self.similarity(rows).argmax(dim=1) for rows in h.split(ROWS)])

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        units = F.normalize(h.detach().to(self.codes.dtype), dim=1)
        if self.training and not self.started:
            self._start(units)
        codes = self.assign(h)
        quantised = self.codes[codes]
        commitment = self.commitment_weight * (h - quantised).square().sum() / max(h.numel(), 1)
        if self.training:
            self._move(units, codes)
            quantised = h + (quantised - h).detach()
        return quantised, codes, commitment

    @torch.no_grad()
    def _start(self, units: Tensor, iterations: int = 10) -> None:
        directions = units[units.any(dim=1)]
        count = min(len(self.codes), len(directions))
        if count == 0:
            return
        self.codes[:count] = directions[torch.randperm(len(directions), device=units.device)[:count]]
        for _ in range(iterations):
            centres = self._centres(units, self.assign(units))
            self.codes.copy_(torch.where(centres.any(dim=1, keepdim=True), centres, self.codes))
        self.started.fill_(True)

    @torch.no_grad()
    def _move(self, units: Tensor, codes: Tensor) -> None:
        centres = self._centres(units, codes)
        moved = torch.lerp(centres, self.codes, self.decay)
        if self.mode == "default":
            moved = F.normalize(moved, dim=1)
        self.codes.copy_(torch.where(centres.any(dim=1, keepdim=True), moved, self.codes))
        hits = torch.bincount(codes, minlength=len(self.codes)).to(self.hits.dtype)
        self.hits.lerp_(hits, 1 - self.decay)
        if self.revive_below > 0:
            self._revive(units)

    def _centres(self, units: Tensor, codes: Tensor) -> Tensor:
        """Normalised mean of the unit rows of each code, [K, C]; zero for a code without a row that has a direction."""
        sums = torch.zeros_like(self.codes).index_add_(0, codes, units)
        return F.normalize(sums, dim=1)

    def _revive(self, units: Tensor) -> None:
        directions = units[units.any(dim=1)]
        dead = (self.hits < self.revive_below).nonzero().flatten()
        if len(directions) and len(dead):
            self.codes[dead] = directions[torch.randint(len(directions), (len(dead),), device=units.device)]
            self.hits[dead] = 1.0
