"""ExpertAdapter: experts and who is sent to them, read as a Structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from structkd.adapters.base import batch_only
from structkd.adapters.layouts import owner, token_grid
from structkd.adapters.tokens import TokenAdapter
from structkd.errors import ConfigError, WiringError, nearest
from structkd.models.modules.records import recorded
from structkd.models.modules.router import Router, Routing
from structkd.structure import Structure

#: What each reading fills beside logits, losses and labels.
VIEWS = {
    "tokens": ("x", "x_dst", "edge_index", "edge_weight", "gates", "pos", "batch", "image_id", "mask"),
    "experts": ("x", "edge_index", "edge_weight", "importance", "mask", "pos"),
}


class ExpertAdapter(TokenAdapter):
    """Reads the routing of one forward pass of an image classifier with `Router`s in it, such as `VMoE`.

    Args:
        view: what the elements are.
            "tokens": the N tokens of one router. `x` [N, C] the tokens as the router got them, `x_dst` [E, C] the
            experts, by the router's weights; edges token -> expert with `edge_weight` the gate; `gates` [N, E] the same
            as a matrix; `batch` [N], `n_id` [N] (the image's id times T plus the token's number) and `image_id` [B] (of
            the images); `pos` [N, 2] row and column in cells, -1 for class and register tokens; `mask` [N], whether an
            expert had room for the token.
            "experts": the experts of all routers, in the order they ran. `x` [M, C] the router's weights; `importance`
            [M] the load, as a share of what its router's experts took; `mask` [M] whether it took anything; `pos` [M,
            2] number of its router and its own; `n_id` [M]. Edges go from each expert to those of the next router, as
            far as tokens took that way; `edge_weight` is the sum of the products of their gates, divided by the number
            of tokens (with `order="topk_softmax"` and nothing dropped the edges between two routers sum to 1).
        router: module path of the router that "tokens" reads. Default: the last that ran.
        maps, vectors, prefix_tokens, grid: as of `TokenAdapter`.

    The Structure also holds `logits` [B, K], `losses` and `y` [B]. The gradient reaches `x`, `gates` and `edge_weight`.

    Both describe a batch (edges and experts are no rows of its images): as a teacher's adapter it runs on every batch
    (`data.store_outputs=False`).

    Raises:
        ConfigError: an unknown view. WiringError: a model without a router, or no router at that path.
    """

    def __init__(
        self,
        view: str = "tokens",
        router: str | None = None,
        maps: Mapping[str, str] | None = None,
        vectors: Mapping[str, str] | None = None,
        prefix_tokens: int | None = None,
        grid: Sequence[int] | None = None,
    ) -> None:
        super().__init__(maps, vectors, prefix_tokens=prefix_tokens, grid=grid)
        if view not in VIEWS:
            raise ConfigError(f"ExpertAdapter(view='{view}') is unknown. {nearest(view, VIEWS)}")
        self.view, self.router = view, router
        self.provides = self.provides | set(VIEWS[view])
        if twice := sorted(set(VIEWS[view]) & set(self.taps)):
            raise ConfigError(f"ExpertAdapter fills the field {', '.join(twice)} itself; choose other names.")

    def check(self, model: nn.Module) -> None:
        super().check(model)
        routers = [path for path, module in model.named_modules() if isinstance(module, Router)]
        if not routers:
            raise WiringError(f"{type(model).__name__} has no router; ExpertAdapter reads models such as VMoE.")
        if self.router is not None and self.router not in routers:
            raise WiringError(
                f"{type(model).__name__} has no router at '{self.router}'. {nearest(self.router, routers)}"
            )

    def __call__(self, model: nn.Module, inputs: Any) -> Structure:
        self.check(model)
        tokens: dict[str, Tensor] = {}

        def keep(path: str) -> Any:
            return lambda _module, args: tokens.__setitem__(path, args[0])

        routers = {path: module for path, module in model.named_modules() if isinstance(module, Router)}
        handles = [module.register_forward_pre_hook(keep(path)) for path, module in routers.items()]
        try:
            with recorded(model) as records:
                structure = super().__call__(model, inputs)
        finally:
            for handle in handles:
                handle.remove()
        routings = {path: record for path, record in records.items() if isinstance(record, Routing)}
        weights = {path: routers[path].linear.weight for path in routings}
        if self.view == "experts":
            fields = expert_fields(routings, weights)
        else:
            path = next(reversed(routings)) if self.router is None else self.router
            if path not in routings:
                raise WiringError(f"The router at '{path}' of {type(model).__name__} did not run.")
            prefix = self.prefix_tokens
            prefix = int(owner(model, path, "num_prefix_tokens") or 0) if prefix is None else prefix
            size = (inputs.images.size(-2), inputs.images.size(-1))
            fields = token_fields(routings[path], tokens[path], weights[path], structure.get("n_id"))
            fields["pos"] = _places(routings[path].shape, prefix, self.grid, size).to(fields["x"].device)
        for name, value in fields.items():
            structure[name] = value
        return structure

    def compact(self, structure: Structure) -> Structure:
        raise batch_only(self)


def token_fields(routing: Routing, x: Tensor, weight: Tensor, n_id: Tensor | None = None) -> dict[str, Tensor]:
    """The fields of the view "tokens", but `pos`.

    Args:
        routing: of tokens [B, T, C].
        x: [B, T, C] the tokens.
        weight: [E, C] of the router.
        n_id: [B] ids of the images; default their places in the batch.
    """
    samples, count = routing.shape[0], torch.Size(routing.shape[1:]).numel()
    place = torch.arange(samples, device=x.device)
    edge_index, edge_weight = routing.edges()
    ids = place if n_id is None else n_id.to(x.device)
    return {
        "x": x.flatten(0, -2),
        "x_dst": weight,
        "edge_index": edge_index,
        "edge_weight": edge_weight,
        "gates": _gates(routing),
        "batch": place.repeat_interleave(count),
        "n_id": (ids[:, None] * count + torch.arange(count, device=x.device)).flatten(),
        "image_id": ids,
        "mask": routing.kept.any(1),
    }


def expert_fields(routings: Mapping[str, Routing], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The fields of the view "experts".

    Args:
        routings: router -> what it decided, in the order they ran.
        weights: router -> its weight [E, C], C the same for all.
    """
    loads = [routing.load for routing in routings.values()]
    sizes = [load.numel() for load in loads]
    device = loads[0].device
    edges, first = [torch.zeros(2, 0, dtype=torch.long, device=device)], 0
    gates = [_gates(routing) for routing in routings.values()]
    amounts = [gates[0].new_zeros(0)]
    for before, after in pairwise(gates):
        if before.size(0) == after.size(0):  # the same tokens
            flow = before.t() @ after / max(before.size(0), 1)
            source, target = ((before > 0).t().to(flow) @ (after > 0).to(flow)).nonzero(as_tuple=True)
            edges.append(torch.stack([source + first, target + first + before.size(1)]))
            amounts.append(flow[source, target])
        first += before.size(1)
    load = torch.cat(loads)
    stage = torch.arange(len(sizes), device=device).repeat_interleave(torch.tensor(sizes, device=device))
    slot = torch.cat([torch.arange(size, device=device) for size in sizes])
    return {
        "x": torch.cat([weights[path] for path in routings]),
        "importance": torch.cat([part / part.sum().clamp(min=1) for part in loads]),
        "mask": load > 0,
        "pos": torch.stack([stage, slot], 1).to(torch.get_default_dtype()),
        "n_id": torch.arange(load.numel(), device=device),
        "edge_index": torch.cat(edges, 1),
        "edge_weight": torch.cat(amounts),
    }


def _gates(routing: Routing) -> Tensor:
    """[N, E] gate of each token for each expert, 0 where it is not sent."""
    return torch.zeros_like(routing.probs).scatter(1, routing.expert, routing.gate * routing.kept)


def _places(shape: tuple[int, ...], prefix: int, grid: tuple[int, int] | None, size: tuple[int, int]) -> Tensor:
    """[B T, 2] row and column of each token, -1 for prefix tokens and where the tokens fill no grid."""
    count = torch.Size(shape[1:]).numel()
    place = torch.full((count, 2), -1.0)
    cells = token_grid(count - prefix, size) if grid is None else grid
    if cells is not None and cells[0] * cells[1] == count - prefix:
        place[prefix:] = torch.cartesian_prod(*(torch.arange(n, dtype=place.dtype) for n in cells))
    return place.repeat(shape[0], 1)
