"""Adapter: reads a model's forward pass as a Structure; edits nothing."""

from __future__ import annotations

from typing import Any

from torch import nn

from structkd.errors import ConfigError
from structkd.structure import Structure


class Adapter:
    """Base of every adapter.

    Attributes:
        provides: names of the fields that `__call__` fills, known before the first forward pass, so that
            the wiring between an adapter and a distiller is checked when it is built.
        evaluation_only: those of them that it fills of a model in eval mode only.
    """

    provides: frozenset[str] = frozenset()
    evaluation_only: frozenset[str] = frozenset()

    def check(self, model: nn.Module) -> None:
        """Verify that the adapter fits the model (its taps name modules); raises `WiringError`."""

    def __call__(self, model: nn.Module, inputs: Any) -> Structure:
        """One forward pass of `model` on `inputs`, read as a Structure."""
        raise NotImplementedError

    def compact(self, structure: Structure) -> Structure:
        """What is stored of a Structure so that later stages can look it up row by row: without fields that have other
        rows than the batch has elements, if these can be made again."""
        return structure

    def expand(self, structure: Structure) -> Structure:
        """A Structure as `__call__` gives it, of chosen rows of what `compact` left."""
        return structure


def batch_only(adapter: Adapter) -> ConfigError:
    """The error of an adapter whose Structures describe a batch, asked for rows to store."""
    return ConfigError(
        f"{type(adapter).__name__} describes a whole batch, so what it reads of a teacher cannot be stored by element. "
        "Let the teacher run on every batch: data.store_outputs=False, and store_outputs=False in its stage."
    )
