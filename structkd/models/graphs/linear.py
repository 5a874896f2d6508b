"""Layers that also take sparse features, and the norm layers models name by a word."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from structkd.errors import ConfigError, nearest
from structkd.ops import sparse_features

NORMS: dict[str, type[nn.Module]] = {"none": nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class Linear(nn.Linear):
    """`nn.Linear` whose input [N, in_features] may also be a sparse CSR tensor (bag-of-words features)."""

    def forward(self, x: Tensor) -> Tensor:
        return sparse_features.linear(x, self.weight, self.bias)


class Dropout(nn.Dropout):
    """`nn.Dropout` whose input may also be a sparse CSR tensor; then its stored entries are dropped."""

    def forward(self, x: Tensor) -> Tensor:
        if not sparse_features.is_sparse(x) or not self.training or self.p == 0:
            return x if sparse_features.is_sparse(x) else super().forward(x)
        values = F.dropout(x.values(), self.p)
        return torch.sparse_csr_tensor(x.crow_indices(), x.col_indices(), values, x.shape, check_invariants=False)


def make_norm(kind: str, channels: int) -> nn.Module:
    """The norm layer called `kind` ("none", "batch" or "layer") over `channels` features.

    "none" is an `nn.Identity`, so that a tap on a norm exists in every model and adds no key to its state dict.
    Errors: `ConfigError` for any other word.
    """
    if kind not in NORMS:
        raise ConfigError(f"norm='{kind}' is not a norm layer. {nearest(kind, NORMS)}")
    norm = NORMS[kind]
    return nn.Identity() if norm is nn.Identity else norm(channels)


def reset(*modules: nn.Module) -> None:
    """Call `reset_parameters` of every module that has one; containers are entered."""
    for module in modules:
        own = getattr(module, "reset_parameters", None)
        if callable(own):
            own()
        else:
            reset(*module.children())
