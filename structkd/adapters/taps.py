"""Taps: read the outputs of submodules, named by path, during one forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from structkd.errors import WiringError, nearest


def check_taps(model: nn.Module, taps: Mapping[str, str]) -> None:
    """Verify that every tap path names a submodule of `model`; raises `WiringError` with the nearest names."""
    modules = dict(model.named_modules())
    for field, path in taps.items():
        if path not in modules:
            raise WiringError(
                f"The tap '{field}' points at '{path}', but {type(model).__name__} has no submodule of that name. "
                + nearest(path, [name for name in modules if name])
            )


@contextmanager
def tapped(model: nn.Module, taps: Mapping[str, str]) -> Iterator[dict[str, Tensor]]:
    """Within the context, each forward pass of `model` leaves the outputs of the tapped submodules in the dict.

    Args:
        model: any module; it is not changed, the hooks are gone when the context ends.
        taps: field name -> submodule path as in `named_modules()`.

    A submodule that returns several values gives the first one; one that runs several times gives its last output.
    """
    check_taps(model, taps)
    outputs: dict[str, Tensor] = {}
    modules = dict(model.named_modules())
    handles = []
    for field, path in taps.items():

        def keep(_module: nn.Module, _args: Any, output: Any, field: str = field) -> None:
            outputs[field] = output[0] if isinstance(output, (tuple, list)) else output

        handles.append(modules[path].register_forward_hook(keep))
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
