"""Vision transformers, down to sizes for small images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structkd.errors import ConfigError, DataError
from structkd.models.chain import Step, module_steps
from structkd.models.images.base import ImageModel
from structkd.models.images.layers import preset as entry
from structkd.models.images.positions import resized_positions, sincos_positions

#: Name -> channels, blocks, heads.
PRESETS = {"nano": (64, 6, 2), "mini": (128, 6, 4), "tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12)}
#: Tokens each way that a patch size is chosen for where none is given.
TOKENS = 8


class Attention(nn.Module):
    """Multi-head self-attention: [B, N, C] -> [B, N, C]."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class MLPBlock(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, inner)
        self.fc2 = nn.Linear(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class DropPath(nn.Module):
    """In training leaves a branch out of whole samples (Huang et al., "Stochastic Depth", ECCV 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(x.size(0), *[1] * (x.dim() - 1), device=x.device) >= self.rate
        return x * kept.to(x.dtype) / (1 - self.rate)


class Block(nn.Module):
    """Attention and MLP, each on normed tokens and added to them: [B, N, C] -> [B, N, C]."""

    def __init__(self, channels: int, heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MLPBlock(channels, int(channels * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Cuts an image into patches: [B, C_in, H, W] -> [B, C, H / p, W / p]."""

    def __init__(self, in_channels: int, channels: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_channels, channels, patch_size, patch_size)

    def forward(self, images: Tensor) -> Tensor:
        if images.size(-2) % self.patch_size or images.size(-1) % self.patch_size:
            raise DataError(
                f"Images of shape {tuple(images.shape)} are not made of whole {self.patch_size}-pixel patches."
            )
        return self.proj(images)


class TokenPool(nn.Module):
    """One vector of an image's tokens: the class token, or the mean of the patch tokens. [B, N, C] -> [B, C]."""

    def __init__(self, kind: str, prefix: int) -> None:
        super().__init__()
        self.kind, self.prefix = kind, prefix

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0] if self.kind == "class" else x[:, self.prefix :].mean(1)


class ViT(ImageModel):
    """Vision transformer.

    Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, section 3.1; register tokens of Darcet et al.,
    "Vision Transformers Need Registers", ICLR 2024.

    Args:
        out_channels: classes.
        preset: "nano", "mini", "tiny", "small" or "base": channels, blocks and heads of (64, 6, 2), (128, 6, 4),
            (192, 12, 3), (384, 12, 6), (768, 12, 12).
        width, depth, heads: in place of the preset's.
        in_channels: colours of the image.
        image_size: pixels, one number or (H, W); the positions are made for it, other images get interpolated ones.
        patch_size: pixels of a patch; default an eighth of the shorter side, so 64 tokens on square images.
        pool: "class", a class token that the classifier reads, or "mean" of the patch tokens (no class token then).
        registers: further tokens that nothing reads.
        positions: "learned" (the class token has one too) or "sincos" (fixed; patches only).
        mlp_ratio: inner channels of the MLPs, in units of `width`.
        drop_path: share of samples whose branch is dropped in the last block; it grows linearly from 0 in the first.

    Taps: `blocks.0`, ... and `norm` give tokens [B, P + T, C], in front P = `num_prefix_tokens` class and register
    tokens, then the T patches row by row (`TokenAdapter` makes maps of them); `pool` the vector [B, C].

    Raises:
        ConfigError: unknown names, numbers out of range, a width that the heads (or sincos positions) do not divide, an
            image that is not made of whole patches.
        DataError: a batch of such images.

    Differences: parameter names and order are the common ones, so weights of plain ViTs and of DeiTs load. Registers
    stand behind the class token and have no position.
    """

    fixed: Tensor

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
    ) -> None:
        super().__init__()
        channels, blocks, num_heads = (a or b for a, b in zip((width, depth, heads), entry(PRESETS, preset, "preset")))
        height, across = (image_size, image_size) if isinstance(image_size, int) else image_size
        patch = patch_size or max(1, min(height, across) // TOKENS)
        for name, value, known in (("pool", pool, ("class", "mean")), ("positions", positions, ("learned", "sincos"))):
            if value not in known:
                raise ConfigError(f"{name}='{value}' is unknown. Available: {', '.join(known)}.")
        if channels % num_heads or (positions == "sincos" and channels % 4):
            raise ConfigError(f"width={channels} is not divisible by {num_heads} heads, or by 4 for sincos positions.")
        if registers < 0 or not 0 <= drop_path < 1:
            raise ConfigError(f"registers={registers}, drop_path={drop_path}: expected 0 or more, and 0 to below 1.")
        if height % patch or across % patch:
            raise ConfigError(f"image_size={image_size} is not made of whole patches of {patch} pixels.")
        self.patch_size = patch
        self.grid = (height // patch, across // patch)
        class_tokens = int(pool == "class")
        self.num_prefix_tokens = class_tokens + registers
        self.has_class_token = pool == "class"
        self.cls_token = nn.Parameter(torch.zeros(1, 1, channels)) if class_tokens else None
        self.reg_token = nn.Parameter(torch.zeros(1, registers, channels)) if registers else None
        tokens = class_tokens + self.grid[0] * self.grid[1]
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, channels)) if positions == "learned" else None
        if positions == "sincos":
            self.register_buffer("fixed", sincos_positions(self.grid, channels), persistent=False)
        self.patch_embed = PatchEmbed(in_channels, channels, patch)
        rates = [drop_path * i / max(1, blocks - 1) for i in range(blocks)]
        self.blocks = nn.Sequential(*(Block(channels, num_heads, mlp_ratio, rate) for rate in rates))
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pool = TokenPool(pool, self.num_prefix_tokens)
        self.head = nn.Linear(channels, out_channels)
        self._init()
        places = [*(f"blocks.{i}" for i in range(blocks)), "norm"]
        self._describe(((path, channels, patch) for path in places), channels)

    def _init(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        for token in (self.cls_token, self.reg_token, self.pos_embed):
            if token is not None:
                nn.init.trunc_normal_(token, std=0.02)

    def _positions(self, like: Tensor) -> tuple[Tensor | float, Tensor]:
        """Of the class token [1, C] and of the patches [h w, C] of a map `like` [B, C, h, w]."""
        grid = (like.size(2), like.size(3))
        if self.pos_embed is None:
            fixed = self.fixed if grid == self.grid else sincos_positions(grid, like.size(1))
            return 0.0, fixed.to(like)
        own, patches = self.pos_embed[0].tensor_split([int(self.cls_token is not None)])
        return own, resized_positions(patches, self.grid, grid)

    def chain(self) -> list[Step]:
        names = ("cls_token", "reg_token", "pos_embed", "fixed")
        owned = tuple(name for name in names if getattr(self, name, None) is not None)
        embed = Step("embed", type(self).embed, ("patch_embed", *owned))
        return [embed, *module_steps(self, ["blocks", "norm", "pool", "head"])]

    def embed(self, images: Tensor) -> Tensor:
        """[B, P + T, C], what the first block reads of images."""
        x = self.patch_embed(images)
        own, places = self._positions(x)
        tokens = [x.flatten(2).transpose(1, 2) + places]
        if self.reg_token is not None:
            tokens.insert(0, self.reg_token.expand(x.size(0), -1, -1))
        if self.cls_token is not None:
            tokens.insert(0, (self.cls_token + own).expand(x.size(0), -1, -1))
        return torch.cat(tokens, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.pool(self.norm(self.blocks(self.embed(images)))))
