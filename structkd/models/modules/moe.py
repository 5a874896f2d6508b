"""A sparse mixture of experts in place of a transformer's MLP."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structkd.errors import WiringError
from structkd.models.images.vit import MLPBlock
from structkd.models.modules.router import Router, Routing, assigned
from structkd.ops.grouped_matmul import grouped_matmul
from structkd.ops.segment import segment_sum


class GroupedLinear(nn.Module):
    """One linear layer an expert: [N, C] rows grouped by expert, [E] group sizes -> [N, D].

    Weight [E, D, C] and bias [E, D], an expert's slice laid out as `torch.nn.Linear` has it. Initialised as a ViT's
    linear layers are: normal with standard deviation 0.02, zero bias.
    """

    def __init__(self, experts: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, out_channels, in_channels))
        self.bias = nn.Parameter(torch.zeros(experts, out_channels))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: Tensor, sizes: Tensor) -> Tensor:
        out = grouped_matmul(x, self.weight, sizes)
        return out + self.bias.to(out.dtype).repeat_interleave(sizes, 0, output_size=x.size(0))

    def of_all(self, x: Tensor) -> Tensor:
        """[N, C] or [E, N, C] through every expert: [E, N, D]."""
        return x @ self.weight.transpose(1, 2) + self.bias[:, None]


class Experts(nn.Module):
    """E networks of the form of a ViT's MLP: two linear layers with a GELU between them.

    Args:
        experts: E.
        channels: C in and out.
        inner: channels between the layers.
    """

    def __init__(self, experts: int, channels: int, inner: int) -> None:
        super().__init__()
        self.fc1 = GroupedLinear(experts, channels, inner)
        self.fc2 = GroupedLinear(experts, inner, channels)

    def forward(self, x: Tensor, sizes: Tensor) -> Tensor:
        """[N, C] rows grouped by expert, [E] int64 group sizes -> [N, C]."""
        return self.fc2(F.gelu(self.fc1(x, sizes)), sizes)

    def of_all(self, x: Tensor) -> Tensor:
        """[N, C] through every expert: [E, N, C]."""
        return self.fc2.of_all(F.gelu(self.fc1.of_all(x)))

    @torch.no_grad()
    def copy_(self, mlp: MLPBlock) -> None:
        """Make every expert a copy of `mlp`; a `WiringError` where its sizes are others."""
        for name in ("fc1", "fc2"):
            mine, theirs = getattr(self, name), getattr(mlp, name)
            if mine.weight.shape[1:] != theirs.weight.shape:
                raise WiringError(
                    f"{name} of an expert is {tuple(mine.weight.shape[1:])}, of the dense MLP "
                    f"{tuple(theirs.weight.shape)}; expected the same."
                )
            mine.weight.copy_(theirs.weight.expand_as(mine.weight))
            mine.bias.copy_(theirs.bias.expand_as(mine.bias))


class MoE(nn.Module):
    """Each token is the sum of the experts it is sent to, weighted by their gates: [B, T, C] -> [B, T, C].

    A token that no expert has room for gets zeros (the residual connection around the block carries it on).

    Args:
        channels: C.
        inner: channels between an expert's two layers.
        experts: E.
        router: further arguments of `Router`.

    The routing is the output of the submodule `router`: read it with `structkd.models.modules.recorded`. While a model
    is exported, every expert computes every token (a trace has no groups of varying size); the result is the same.
    """

    def __init__(self, channels: int, inner: int, experts: int, **router: Any) -> None:
        super().__init__()
        self.router = Router(channels, experts, **router)
        nn.init.trunc_normal_(self.router.linear.weight, std=0.02)
        if self.router.linear.bias is not None:
            nn.init.zeros_(self.router.linear.bias)
        self.experts = Experts(experts, channels, inner)

    def forward(self, x: Tensor) -> Tensor:
        rows, routing = x.flatten(0, -2), self.router(x)
        combine = self._by_all if torch.compiler.is_exporting() else self._by_group
        return combine(rows, routing).view_as(x)

    def _by_group(self, rows: Tensor, routing: Routing) -> Tensor:
        (token, expert), gate = routing.edges()
        order = expert.argsort(stable=True)
        token = token[order]
        out = self.experts(rows.index_select(0, token), assigned(expert, routing.num_experts))
        weighted = out * gate[order].to(out.dtype)[:, None]
        return segment_sum(weighted, token, rows.size(0)).to(rows.dtype)

    def _by_all(self, rows: Tensor, routing: Routing) -> Tensor:
        gate = torch.zeros_like(routing.probs).scatter_add(1, routing.expert, routing.gate * routing.kept)
        return torch.einsum("ne,enc->nc", gate.to(rows.dtype), self.experts.of_all(rows))
