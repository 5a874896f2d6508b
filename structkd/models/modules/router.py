"""Routers: which experts a token is sent to, and with what weight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structkd.errors import ConfigError, nearest
from structkd.models.modules.records import Record, Recorder
from structkd.models.modules.router_balance import importance_loss, load_loss, mutual_information_loss, z_loss
from structkd.ops.precision import accumulator

ORDERS = ("softmax_topk", "topk_softmax")
BALANCE = ("importance", "load", "z", "mutual_information")


@dataclass(frozen=True, eq=False)
class Routing(Record):
    """Where the tokens of one forward pass went; tokens are numbered sample by sample.

    Attributes:
        shape: leading dimensions of the tokens, such as (B, T); N is their product.
        logits: [N, E] scores without noise.
        probs: [N, E] their softmax.
        expert: [N, K] int64, the experts of each token, the best first.
        gate: [N, K] their weights.
        kept: [N, K] bool, False where an expert was full.
        losses: balance losses, weighted.
    """

    shape: tuple[int, ...]
    logits: Tensor
    probs: Tensor
    expert: Tensor
    gate: Tensor
    kept: Tensor
    losses: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def num_experts(self) -> int:
        return self.logits.size(1)

    @property
    def load(self) -> Tensor:
        """[E] int64, tokens that each expert takes."""
        return assigned(self.expert.flatten(), self.num_experts, self.kept.flatten())

    @property
    def dropped(self) -> Tensor:
        """Share of the assignments that found their expert full; 0 without tokens."""
        return (~self.kept).float().sum() / max(self.kept.numel(), 1)

    def edges(self) -> tuple[Tensor, Tensor]:
        """Token -> expert: [2, A] of those that were kept, token by token, and their gates [A]."""
        token = torch.arange(self.expert.size(0), device=self.expert.device)[:, None].expand_as(self.expert)
        return torch.stack([token[self.kept], self.expert[self.kept]]), self.gate[self.kept]


def gates(logits: Tensor, k: int, order: str) -> tuple[Tensor, Tensor]:
    """The k best experts of each token and their weights.

    Args:
        logits: [N, E].
        k: experts a token is sent to, 1 to E.
        order: "softmax_topk" (V-MoE): weights are probabilities among all experts, so they sum to less than 1;
            "topk_softmax" (FastMoE's naive gate, m2mKD): among the chosen ones, so they sum to 1. Which experts are
            chosen is the same.

    Returns:
        [N, k] weights and [N, k] int64 experts, the best first.
    """
    if order == "softmax_topk":
        weight, expert = logits.softmax(1).topk(k, 1)
        return weight, expert
    score, expert = logits.topk(k, 1)
    return score.softmax(1), expert


def assigned(expert: Tensor, num_experts: int, kept: Tensor | None = None) -> Tensor:
    """[E] int64, how often each expert stands in [A] assignments, of those that are `kept` [A]."""
    one = torch.ones_like(expert) if kept is None else kept.long()
    return one.new_zeros(num_experts).scatter_add(0, expert, one)


def within_capacity(expert: Tensor, num_experts: int, capacity: int | Tensor, priority: Tensor | None = None) -> Tensor:
    """Which assignments find room: all first choices come before all second ones.

    Args:
        expert: [N, K] experts of each token, the best first.
        num_experts: E.
        capacity: tokens that an expert takes; a number, or [E].
        priority: [N]; among the same choice the larger comes first (V-MoE's batch-priority routing). Default: the order
            of the tokens. Ties are resolved in that order too.

    Returns:
        [N, K] bool.

    Source: Riquelme et al., "Scaling Vision with Sparse Mixture of Experts", NeurIPS 2021, algorithms 1 and 2.
    """
    tokens, choices = expert.shape
    turn = (
        torch.arange(tokens, device=expert.device)
        if priority is None
        else priority.argsort(descending=True, stable=True)
    )
    flat = expert[turn].t().flatten()  # in the order they are served
    by_expert = flat.argsort(stable=True)
    count = assigned(flat, num_experts)
    served = torch.empty_like(flat)
    served[by_expert] = torch.arange(flat.numel(), device=flat.device) - (count.cumsum(0) - count)[flat[by_expert]]
    kept = torch.empty_like(expert, dtype=torch.bool)
    room = capacity[flat] if isinstance(capacity, Tensor) else capacity
    kept[turn] = (served < room).view(choices, tokens).t()
    return kept


class Router(Recorder):
    """Linear router: [..., C] tokens -> `Routing`.

    Riquelme et al., "Scaling Vision with Sparse Mixture of Experts" (V-MoE), NeurIPS 2021, section 2.

    Args:
        channels: C.
        experts: E.
        k: experts a token is sent to.
        order: "softmax_topk" or "topk_softmax", see `gates`. With k = 1 the gate of the latter is always 1, and nothing
            but a balance loss teaches the router.
        noise: standard deviation of the Gaussian noise on the logits in training; V-MoE: 1 / E.
        capacity: `None`, dropless: an expert takes whatever comes; or a factor: in training an expert takes
            round(factor * N k / E) tokens of a group, at least one, and the others lose it.
        eval_capacity: the factor in evaluation; dropless by default.
        group_size: samples (of the tokens' first dimension) of a group with a capacity of its own; the last group may
            be smaller. Default: the batch is one group. V-MoE: 8 images.
        priority: whether tokens whose largest probability among all experts is large are served first (batch-priority
            routing), in either order; matters with a capacity only.
        balance: weight of each auxiliary loss: `importance`, `load` (needs noise), `z`, `mutual_information`; see
            `structkd.models.modules.router_balance`. V-MoE: 0.005 for the first two. Default: none.
        bias: whether the linear layer has one.

    Runs in float32 at least, under autocast too. In training the choice is made on noisy logits; `probs`, and the
    balance losses but `load`, are of the logits without noise.

    Raises:
        ConfigError: numbers out of range, unknown names, a `load` loss without noise.

    Differences: V-MoE's balance losses are means over its groups; here they are of the batch. The capacity is rounded
    as in the paper; the released code rounds up, to a multiple of four. V-MoE evaluates with a (larger) capacity too;
    by default nothing is dropped here, so that the prediction for an image does not depend on the images beside it.
    m2mKD's "V-MoE" is FastMoE's naive gate: `order="topk_softmax"`, `bias=True`, and all else as by default.
    """

    def __init__(
        self,
        channels: int,
        experts: int,
        k: int = 2,
        order: str = "softmax_topk",
        noise: float = 0.0,
        capacity: float | None = None,
        eval_capacity: float | None = None,
        group_size: int | None = None,
        priority: bool = False,
        balance: Mapping[str, float] | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.balance = {name: weight for name, weight in (balance or {}).items() if weight}
        if not 1 <= k <= experts:
            raise ConfigError(f"k={k}: expected 1 to {experts}, the number of experts.")
        if order not in ORDERS:
            raise ConfigError(f"order='{order}' is unknown. Available: {', '.join(ORDERS)}.")
        if noise < 0 or any(factor is not None and factor <= 0 for factor in (capacity, eval_capacity)):
            raise ConfigError(
                f"noise={noise}, capacity={capacity}, eval_capacity={eval_capacity}: expected 0 or more, and factors "
                "above 0 or None."
            )
        if (priority or group_size) and capacity is None and eval_capacity is None:
            raise ConfigError("priority and group_size decide who is dropped; give a capacity.")
        if group_size is not None and group_size < 1:
            raise ConfigError(f"group_size={group_size}: expected 1 or more, or None.")
        for name, weight in (balance or {}).items():
            if name not in BALANCE:
                raise ConfigError(f"balance.{name} is no loss. {nearest(name, BALANCE)}")
            if weight < 0:
                raise ConfigError(f"balance.{name}={weight}: expected 0 or more.")
        if "load" in self.balance and not noise:
            raise ConfigError("balance.load is the chance to be chosen when the noise is drawn anew; give noise > 0.")
        self.k, self.order, self.noise = k, order, noise
        self.capacity, self.eval_capacity = capacity, eval_capacity
        self.group_size, self.priority = group_size, priority
        self.linear = nn.Linear(channels, experts, bias=bias)

    def forward(self, x: Tensor) -> Routing:
        weight, bias = self.linear.weight, self.linear.bias
        with torch.autocast(x.device.type, enabled=False):
            dtype = accumulator(x, weight)
            rows = x.flatten(0, -2).to(dtype)
            logits = F.linear(rows, weight.to(dtype), None if bias is None else bias.to(dtype))
        noisy = logits
        if self.training and self.noise:
            noisy = logits + self.noise * torch.randn_like(logits)
        gate, expert = gates(noisy, self.k, self.order)
        probs = logits.softmax(1)
        return Routing(
            tuple(x.shape[:-1]),
            logits,
            probs,
            expert,
            gate,
            self._kept(noisy, expert, x.size(0)),
            self._losses(logits, noisy, probs),
        )

    def _kept(self, noisy: Tensor, expert: Tensor, samples: int) -> Tensor:
        factor = self.capacity if self.training else self.eval_capacity
        if factor is None or not expert.numel():
            return torch.ones_like(expert, dtype=torch.bool)
        tokens, experts = expert.size(0), self.linear.out_features
        size = (self.group_size or samples) * (tokens // samples)
        rooms = []
        for start in range(0, tokens, size):
            share = min(size, tokens - start) * self.k / experts
            rooms += [max(1, math.floor(factor * share + 0.5))] * experts
        group = torch.arange(tokens, device=expert.device) // size
        first = noisy.detach().softmax(1).amax(1) if self.priority else None
        # The experts of a group serve nobody else, as if each group had its own.
        own = expert + experts * group[:, None]
        return within_capacity(own, len(rooms), torch.tensor(rooms, device=expert.device), first)

    def _losses(self, logits: Tensor, noisy: Tensor, probs: Tensor) -> dict[str, Tensor]:
        terms = {
            "importance": lambda: importance_loss(probs),
            "load": lambda: load_loss(logits, noisy, self.k, self.noise),
            "z": lambda: z_loss(logits),
            "mutual_information": lambda: mutual_information_loss(probs),
        }
        return {name: weight * terms[name]() for name, weight in self.balance.items()}
