"""V-MoE: a vision transformer some of whose MLPs are sparse mixtures of experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import nn

from structkd.errors import ConfigError, WiringError
from structkd.models.images.vit import Block, ViT
from structkd.models.modules.moe import MoE


def moe_places(blocks: str | Sequence[int], depth: int) -> tuple[int, ...]:
    """Numbers of the blocks with experts, ascending.

    Args:
        blocks: "odd" (1, 3, 5, ...: V-MoE's every second), "all" (m2mKD), or numbers; negative ones count from the end.
        depth: number of blocks.
    """
    if isinstance(blocks, str):
        named = {"odd": range(1, depth, 2), "all": range(depth)}
        if blocks not in named:
            raise ConfigError(f"moe_blocks='{blocks}' is unknown. Available: {', '.join(named)}, or a list of numbers.")
        return tuple(named[blocks])
    if not all(isinstance(i, int) and -depth <= i < depth for i in blocks):
        raise ConfigError(f"moe_blocks={list(blocks)}: expected numbers from {-depth} to {depth - 1}.")
    return tuple(sorted({i % depth for i in blocks}))


class VMoE(ViT):
    """Vision transformer with experts.

    Riquelme et al., "Scaling Vision with Sparse Mixture of Experts", NeurIPS 2021.

    Args:
        out_channels: classes.
        preset, width, depth, heads, in_channels, image_size, patch_size, pool, registers, positions, mlp_ratio,
            drop_path: as of `ViT`.
        experts: E of each block that has some. Published: 8 (released models) to 32.
        k: experts a token is sent to.
        moe_blocks: "odd" (1, 3, ...; published), "all", or the numbers of the blocks; see `moe_places`.
        router: further arguments of `Router`: order, noise, capacity, eval_capacity, group_size, priority, balance,
            bias.

    Taps are those of `ViT`, with `blocks.I.mlp.router` for the routing of block I. All tokens are routed, class and
    register tokens too. Balance losses reach the objective through the adapter (`loss/model.importance`, ...).

    Raises:
        ConfigError: as `ViT` and `Router` do; unknown blocks.

    Differences: dropless, and without noise and balance losses by default; the published training has
    `router=dict(noise=1 / 8, capacity=1.05, group_size=8, balance=dict(importance=0.005, load=0.005))`. A balance loss
    is the mean over the blocks that owe it. Experts start from different weights; published: from the same, which
    `upcycle_` gives.
    """

    def __init__(
        self,
        out_channels: int,
        preset: str = "tiny",
        width: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 32,
        patch_size: int | None = None,
        pool: str = "class",
        registers: int = 0,
        positions: str = "learned",
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        experts: int = 8,
        k: int = 2,
        moe_blocks: str | Sequence[int] = "odd",
        router: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            out_channels, preset, width, depth, heads, in_channels, image_size, patch_size, pool, registers, positions,
            mlp_ratio, drop_path,
        )  # fmt: skip
        self.moe_blocks = moe_places(moe_blocks, len(self.blocks))
        for block in (self._block(i) for i in self.moe_blocks):
            inner, channels = block.mlp.fc1.weight.shape
            block.register_module("mlp", _moe(channels, inner, experts, k, router))

    def _block(self, index: int) -> Block:
        return cast(Block, self.blocks[index])


def _moe(channels: int, inner: int, experts: int, k: int, router: Mapping[str, Any] | None) -> MoE:
    try:
        return MoE(channels, inner, experts, k=k, **(router or {}))
    except TypeError as error:
        raise ConfigError(f"router={dict(router or {})} does not fit: {error}.") from error


def upcycle_(model: VMoE, dense: nn.Module) -> None:
    """Start a V-MoE from a dense ViT: everything is copied, and each MLP to all experts of its block.

    With `order="topk_softmax"` and without a capacity the weights of a token's experts sum to 1, so the model is at
    first the dense one; with "softmax_topk" the outputs of the MLPs with experts are scaled down. Routers keep their
    own initialisation.

    Komatsuzaki et al., "Sparse Upcycling", ICLR 2023, section 3.

    Raises:
        WiringError: a model that is no dense ViT of the same sizes, naming the first parameter that differs.
    """
    if not isinstance(dense, ViT) or isinstance(dense, VMoE):
        raise WiringError(f"Experts are copied from the MLPs of a dense ViT; got a {type(dense).__name__}.")
    if len(dense.blocks) != len(model.blocks):
        raise WiringError(f"The dense model has {len(dense.blocks)} blocks, the V-MoE {len(model.blocks)}.")
    mine, theirs = model.state_dict(), dense.state_dict()
    places = tuple(f"blocks.{i}.mlp." for i in model.moe_blocks)
    shared = {name: value for name, value in theirs.items() if not name.startswith(places)}
    for name in sorted({name for name in mine if not name.startswith(places)} ^ shared.keys()):
        raise WiringError(f"{name} is in only one of the dense model and the V-MoE.")
    for name, value in shared.items():
        if mine[name].shape != value.shape:
            raise WiringError(f"{name} is {tuple(value.shape)} in the dense model, {tuple(mine[name].shape)} here.")
    for i in model.moe_blocks:
        cast(MoE, model._block(i).mlp).experts.copy_(cast(Block, dense.blocks[i]).mlp)
    model.load_state_dict(shared, strict=False)  # what is left out are the experts above and the routers
