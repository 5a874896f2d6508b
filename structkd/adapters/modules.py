"""Adapters of modular networks: a hybrid in training, and a chain of modules as a graph."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from structkd.adapters.base import Adapter, batch_only
from structkd.adapters.tokens import IMAGE_FIELDS
from structkd.errors import ConfigError, WiringError
from structkd.models.modules import Hybrid, ModularView, owed_losses, recorded
from structkd.structure import Structure

#: What a hybrid's pass leaves beside the logits.
PASSED = ("prefix", "boundary")


class HybridAdapter(Adapter):
    """Reads one forward pass of a `Hybrid` on `Images`.

    Args:
        fields: of "prefix" (what entered the module, at the meta model's width) and "boundary" (what left it), both
            [B, N, C] or [B, C, h, w]. The first module has no prefix, the last no boundary.
        suffix: False leaves the frozen suffix out while training: for distillers that read `boundary` alone. There are
            no `logits` then, so the supervised objective must weigh 0. The last module has no suffix to leave out.

    Where the batch carries a `prefix` (see `inputs` of a stage), training goes on from it instead of running the frozen
    prefix again; the first such batch is compared with what the prefix gives, and a difference is a `WiringError`.

    The Structure holds `logits` [B, K], `y`, `n_id`, the fields, and `losses` that the module owes.

    Raises:
        ConfigError: unknown fields, or one that the hybrid's module does not have. WiringError: no `Hybrid`.
    """

    inputs = ("images",)

    def __init__(self, fields: Collection[str] = (), suffix: bool = True) -> None:
        if unknown := sorted(set(fields) - set(PASSED)):
            raise ConfigError(f"HybridAdapter: fields names {unknown}; expected some of {list(PASSED)}.")
        self.fields, self.suffix = tuple(fields), suffix
        self.provides = frozenset({"logits", *IMAGE_FIELDS, *self.fields})
        self._compared = False

    def check(self, model: nn.Module) -> None:
        if not isinstance(model, Hybrid):
            raise WiringError(f"HybridAdapter reads a Hybrid, not a {type(model).__name__}.")
        for name, missing, why in (
            ("prefix", model.index == 0, "the first module takes images"),
            ("boundary", model.is_last, "the last module gives logits"),
        ):
            if missing and name in self.fields:
                raise ConfigError(f"HybridAdapter(fields={list(self.fields)}): {why}, so there is no {name} to read.")
        self.evaluation_only = frozenset() if self.suffix or model.is_last else frozenset({"logits"})

    def __call__(self, model: nn.Module, inputs: Any) -> Structure:
        """`inputs`: `Images`, or any `Data` with `images` [B, C, H, W] (and `y`, `n_id`, `prefix`)."""
        assert isinstance(model, Hybrid)
        prefix = inputs.get("prefix") if model.training and model.index else None
        if prefix is not None and not self._compared:
            with torch.autocast(prefix.device.type, enabled=False):  # what is stored was computed without, too
                _compare(prefix, model.run_prefix(inputs.images))
            self._compared = True
        with recorded(model.module) as records:
            passed = model.trace(inputs.images, prefix, suffix=self.suffix or not model.training)
        fields = {name: getattr(passed, name) for name in ("logits", *self.fields)}
        losses = owed_losses(records) or None
        return Structure(**fields, **{name: inputs.get(name) for name in IMAGE_FIELDS}, losses=losses)


def _compare(given: Tensor, own: Tensor) -> None:
    if given.shape != own.shape or not torch.allclose(given, own, rtol=1e-3, atol=1e-3 * float(own.abs().max())):
        raise WiringError(
            f"The batch's prefix {tuple(given.shape)} is not what the hybrid's own prefix {tuple(own.shape)} gives: it "
            "is of another meta model, another module, or of other views of the images."
        )


class ChainAdapter(Adapter):
    """Reads a network as a chain of modules: nodes are modules, edges lead from each to the next.

    Args:
        splits: where modules begin (see `ModularView`).

    The Structure holds `logits` [B, K], `y` [B] and the `losses` that modules owe. Of S modules: `x` [S, 2], mean and
    standard deviation of each module's output over the batch; `pos` [S, 2], stage and slot (0: one module a stage);
    `edge_index` [2, S - 1]; `n_id` [S]; `importance` [S], numbers in each module's parameters; and what leaves them,
    `boundary_0` to `boundary_<S - 1>` [B, ...], the last of them the logits, in `eval` mode or not as the model is. It
    describes a whole batch: as a teacher's adapter it runs on every batch (`data.store_outputs=False`).
    """

    inputs = ("images",)

    def __init__(self, splits: Sequence[str]) -> None:
        self.splits = tuple(splits)
        boundaries = (f"boundary_{i}" for i in range(len(self.splits) + 1))
        self.provides = frozenset({"logits", "y", "x", "pos", "edge_index", "n_id", "importance", *boundaries})
        self._view: ModularView | None = None  # trying a model takes several passes, so once for each

    def __call__(self, model: nn.Module, inputs: Any) -> Structure:
        """`inputs`: `Images`, or any `Data` with `images` [B, C, H, W]."""
        x = inputs.images
        if self._view is None or self._view.model is not model:
            self._view = ModularView(model, self.splits, x.size(1), tuple(x.shape[2:]))
        view, found, count = self._view, {}, len(self._view)
        with recorded(model) as records:
            for i in range(count):
                found[f"boundary_{i}"] = x = view.forward_range(x, i, i + 1)
        ids = torch.arange(count, device=x.device)
        sizes = [sum(p.numel() for p in view.part(i, i + 1).parameters()) for i in range(count)]
        return Structure(
            torch.stack([torch.stack([out.mean(), out.std(correction=0)]) for out in found.values()]),
            torch.stack([ids[:-1], ids[1:]]),
            pos=torch.stack([ids, torch.zeros_like(ids)], 1).to(x.dtype),
            n_id=ids,
            importance=torch.tensor(sizes, dtype=x.dtype, device=x.device),
            logits=x,
            y=inputs.get("y"),
            losses=owed_losses(records) or None,
            **found,
        )

    def compact(self, structure: Structure) -> Structure:
        raise batch_only(self)
