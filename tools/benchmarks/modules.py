"""Modules and experts: grouped products of experts against a loop, pairs of modules with stored prefix outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks.harness import Benchmark, Comparison
from benchmarks.pairs import pair_benchmarks
from structkd.backends import use_backend
from structkd.models.modules import MoE
from structkd.ops import grouped_matmul

SIZES = {
    "small": "a trial: 1,088 tokens of 64 channels",
    "full": "64 images of 65 tokens (a class token and 8 x 8 patches), 192 channels, experts of 768, a token sent to "
    "2 of 8 or 2 of 32; forward and backward; pairs of a ViT of 192 x 12 and one of 96 x 8 in a meta model of 4 blocks",
}
#: Size -> images, tokens of each, channels, inner channels.
SHAPES = {"small": (64, 17, 64, 256), "full": (64, 65, 192, 768)}
EXPERTS = (8, 32)
Sides = tuple[Callable[[], Sequence[Tensor]], Callable[[], Sequence[Tensor]]]


def _step(run: Callable[[Tensor], Tensor], x: Tensor, weights: Sequence[Tensor], cotangent: Tensor) -> list[Tensor]:
    """Output, and the gradients of the input and of the weights."""
    x = x.detach().requires_grad_()
    out = run(x)
    return [out.detach(), *torch.autograd.grad(out, [x, *weights], cotangent)]


def product_sides(experts: int, skewed: bool, size: str) -> Sides:
    """One product of tokens grouped by expert; skewed: half of the experts get none, one of them half of the rest."""
    images, count, channels, inner = SHAPES[size]
    torch.manual_seed(0)
    rows = 2 * images * count
    share = torch.rand(experts) + 0.5
    if skewed:
        share[1::2] = 0
        share[0] = share[2:].sum()
    sizes = (rows * share / share.sum()).long()
    sizes[0] += rows - sizes.sum()
    x, weight = torch.randn(rows, channels), torch.randn(experts, inner, channels, requires_grad=True)
    cotangent = torch.randn(rows, inner)

    def run(backend: str) -> list[Tensor]:
        return _step(lambda x: grouped_matmul(x, weight, sizes, backend=backend), x, [weight], cotangent)

    return partial(run, "loop"), partial(run, "grouped")


def layer_sides(experts: int, size: str) -> Sides:
    """A whole mixture of experts: router, dispatch, two grouped layers, combination."""
    images, count, channels, inner = SHAPES[size]
    torch.manual_seed(0)
    moe = MoE(channels, inner, experts)
    x, cotangent = torch.randn(images, count, channels), torch.randn(images, count, channels)

    def run(backend: str) -> list[Tensor]:
        with use_backend("grouped_matmul", backend):
            return _step(moe, x, list(moe.parameters()), cotangent)

    return partial(run, "loop"), partial(run, "grouped")


def every_expert_sides(experts: int, size: str) -> Sides:
    """Every expert on every token and a weighted sum, as exported models have it, against the routed tokens only."""
    images, count, channels, inner = SHAPES[size]
    torch.manual_seed(0)
    moe = MoE(channels, inner, experts)
    x, cotangent = torch.randn(images, count, channels), torch.randn(images, count, channels)

    def of_all(x: Tensor) -> Tensor:
        return moe._by_all(x.flatten(0, 1), moe.router(x)).view_as(x)

    weights = list(moe.parameters())
    return partial(_step, of_all, x, weights, cotangent), partial(_step, moe, x, weights, cotangent)


def expert_benchmarks() -> list[Benchmark]:
    found: list[Benchmark] = []
    for experts in EXPERTS:
        found += [
            Comparison(
                f"product of {experts} experts",
                partial(product_sides, experts, False),
                about="tokens grouped by expert times the experts' matrices: a loop against torch's grouped product",
            ),
            Comparison(
                f"product of {experts} experts, half of them empty",
                partial(product_sides, experts, True),
                about="the same, every other expert without a token and one with half of them",
            ),
            Comparison(
                f"layer of {experts} experts",
                partial(layer_sides, experts),
                about="router, dispatch, experts and combination: experts in a loop against the grouped product",
            ),
        ]
    few = EXPERTS[0]
    found.append(
        Comparison(
            f"layer of {few} experts, every expert on every token",
            partial(every_expert_sides, few),
            about=f"every token through all {few} experts against the 2 it is routed to",
        )
    )
    return found


def suite(size: str) -> list[Benchmark]:
    return [*expert_benchmarks(), *pair_benchmarks()]
