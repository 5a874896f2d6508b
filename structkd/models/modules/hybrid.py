"""Hybrid networks: one module of a network inside another, frozen network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from structkd.errors import ConfigError, WiringError
from structkd.models.modules.stitch import Stitch
from structkd.models.modules.view import ModularView, run_steps


@dataclass(frozen=True)
class HybridPass:
    """What one forward pass of a hybrid went through.

    Attributes:
        logits: [B, K]; None where the suffix was left out.
        prefix: what entered the module, at the meta model's width; None for the first module, which takes images.
        boundary: what left it, at the meta model's width; None for the last module, which gives logits.
    """

    logits: Tensor | None
    prefix: Tensor | None
    boundary: Tensor | None


class Hybrid(nn.Module):
    r"""A meta model with one of its modules replaced.

    .. math:: y = M_{>i}(post(S_i(pre(M_{<i}(x)))))

    Lo et al., "m2mKD: Module-to-Module Knowledge Distillation for Modular Transformers", TMLR 2024 (arXiv:2402.16918);
    Ni et al., "Deep Incubation: Training Large Models by Divide-and-Conquering", ICCV 2023 (arXiv:2212.04129), where
    the module is the teacher's own.

    Prefix and suffix are frozen: no gradient reaches their parameters, and they stay in eval mode, so that no
    statistics move. Gradients flow through the suffix into the module; the prefix runs without any.

    Args:
        meta: the meta model, such as `dict(stage="meta")`.
        source: the network whose module is put in; weights of its other modules are not kept.
        index: i, from 0.
        splits: where modules of `source` begin (see `ModularView`).
        meta_splits: the same of `meta`; default `splits`.
        stitch: "norm", "linear" or "none" (see `Stitch`); the first module has only the one behind it, the last only
            the one before it.
        in_channels, image_size: of the images.

    Shapes: images [B, in_channels, H, W] -> logits [B, K]. `prefix` [B, ...], where it is given, stands for what the
    frozen prefix makes of the images.

    Parameters: `prefix.`, `suffix.` (names as in `meta`), `pre.`, `post.` (the stitches), `module.` (as in `source`).

    Raises:
        ConfigError: an index beyond the modules, or different numbers of modules.
        WiringError: networks that are no chains, boundaries that cannot be stitched, another number of classes; a
            module that is frozen itself.

    The meta model's own parameters are frozen (`requires_grad`), not copies of them: a network that was the meta model
    of one hybrid gives no module to another before they are set free again.
    """

    def __init__(
        self,
        meta: nn.Module,
        source: nn.Module,
        index: int,
        splits: Sequence[str],
        meta_splits: Sequence[str] | None = None,
        stitch: str = "norm",
        in_channels: int = 3,
        image_size: int | Sequence[int] = 32,
    ) -> None:
        super().__init__()
        outer = ModularView(meta, splits if meta_splits is None else meta_splits, in_channels, image_size)
        inner = ModularView(source, splits, in_channels, image_size)
        check_pair(outer, inner, index)
        last = len(inner) - 1
        self.index = index
        self._steps = {
            "prefix": outer.stage_steps(0, index),
            "module": inner.stage_steps(index, index + 1),
            "suffix": outer.stage_steps(index + 1, len(outer)),
        }
        self.prefix, self.suffix = outer.part(0, index), outer.part(index + 1, len(outer))
        self.module = inner.part(index, index + 1)
        self.pre = _stitch(outer, inner, index - 1, stitch) if index > 0 else nn.Identity()
        self.post = _stitch(inner, outer, index, stitch) if index < last else nn.Identity()
        for part in (self.prefix, self.suffix):
            part.requires_grad_(False).eval()
        parameters = list(self.module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            raise WiringError(
                f"Module {index} of {type(source).__name__} is frozen, so nothing of it would be trained. A network "
                "that was the meta model of a hybrid is: give a copy, or call requires_grad_(True)."
            )

    @property
    def is_last(self) -> bool:
        """Whether the module is the last one, which gives logits."""
        return not self._steps["suffix"]

    def train(self, mode: bool = True) -> Hybrid:
        """Training mode of the module and its stitches; the frozen parts stay in eval mode."""
        super().train(mode)
        self.prefix.eval()
        self.suffix.eval()
        return self

    def run_prefix(self, images: Tensor) -> Tensor:
        """What the frozen prefix makes of images, without gradients; the images themselves for the first module."""
        with torch.no_grad():
            return run_steps(self.prefix, self._steps["prefix"], images)

    def _entering(self, images: Tensor, prefix: Tensor | None) -> Tensor:
        return self.run_prefix(images) if prefix is None or self.index == 0 else prefix

    def _left(self, entered: Tensor) -> Tensor:
        return self.post(run_steps(self.module, self._steps["module"], self.pre(entered)))

    def trace(self, images: Tensor, prefix: Tensor | None = None, suffix: bool = True) -> HybridPass:
        """The forward pass with what it went through; `suffix=False` leaves out what follows the module."""
        entered = self._entering(images, prefix)
        left = self._left(entered)
        logits = run_steps(self.suffix, self._steps["suffix"], left) if suffix or self.is_last else None
        return HybridPass(logits, entered if self.index else None, None if self.is_last else left)

    def forward(self, images: Tensor, prefix: Tensor | None = None) -> Tensor:
        return run_steps(self.suffix, self._steps["suffix"], self._left(self._entering(images, prefix)))


class Stitched(nn.Module):
    """A network whose modules stay joined by the stitches that they were distilled with.

    Between modules i and i + 1 stand the stitch behind the one and the stitch before the other, through the meta
    model's width. `Hybrid`s of all its modules hold every weight of it: `pre.` and `post.` are `joints.<i>.`.

    Args:
        source: the network.
        meta: the meta model, for its widths only.
        splits, meta_splits, stitch, in_channels, image_size: as of `Hybrid`.

    Shapes: as of `source`. Parameters: `model.` (as in `source`), `joints.<i>.0.` (behind module i), `joints.<i>.1.`.
    """

    def __init__(
        self,
        source: nn.Module,
        meta: nn.Module,
        splits: Sequence[str],
        meta_splits: Sequence[str] | None = None,
        stitch: str = "norm",
        in_channels: int = 3,
        image_size: int | Sequence[int] = 32,
    ) -> None:
        super().__init__()
        inner = ModularView(source, splits, in_channels, image_size)
        outer = ModularView(meta, splits if meta_splits is None else meta_splits, in_channels, image_size)
        check_pair(outer, inner, 0)
        self.model = source
        self.joints = nn.ModuleList(
            nn.Sequential(_stitch(inner, outer, i, stitch), _stitch(outer, inner, i, stitch))
            for i in range(len(inner) - 1)
        )
        self._stages = [inner.stage_steps(i, i + 1) for i in range(len(inner))]

    def forward(self, images: Tensor) -> Tensor:
        x = run_steps(self.model, self._stages[0], images)
        for joint, steps in zip(self.joints, self._stages[1:]):
            x = run_steps(self.model, steps, joint(x))
        return x


def check_pair(outer: ModularView, inner: ModularView, index: int) -> None:
    """Whether module `index` of `inner` can stand in `outer`; raises otherwise."""
    if len(outer) != len(inner):
        raise ConfigError(f"The meta model has {len(outer)} modules, the other {len(inner)}; expected as many.")
    if not 0 <= index < len(inner):
        raise ConfigError(f"index={index}: the modules are 0 to {len(inner) - 1}.")
    if outer.classes != inner.classes:
        raise WiringError(f"The meta model gives {outer.classes} logits, the other {inner.classes}; expected as many.")


def _stitch(before: ModularView, after: ModularView, boundary: int, kind: str) -> Stitch:
    return Stitch(before.boundaries[boundary], after.boundaries[boundary], kind)
