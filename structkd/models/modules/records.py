"""What modules decided in a forward pass, and the losses that they owe for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class Record:
    """Base of what a `Recorder` returns.

    Attributes:
        losses: weighted scalar losses owed for this decision (balance of a router, a prior on a graph).
    """

    losses: Mapping[str, Tensor]


class Recorder(nn.Module):
    """Base of the modules whose output is a `Record`: routers, and the connections of attentive circuits."""


@contextmanager
def recorded(model: nn.Module) -> Iterator[dict[str, Record]]:
    """Within the context, each forward pass of `model` leaves the records of its recorders in the dict.

    Nothing is kept on the model, which can so be copied and exported at any time. A recorder that runs several times
    gives its last record.

    Yields:
        Module path of each recorder that ran -> its record, in the order they ran.
    """
    records: dict[str, Record] = {}
    handles = []
    for path, module in model.named_modules():
        if isinstance(module, Recorder):

            def keep(_module: nn.Module, _args: Any, output: Any, path: str = path) -> None:
                records.pop(path, None)
                records[path] = output

            handles.append(module.register_forward_hook(keep))
    try:
        yield records
    finally:
        for handle in handles:
            handle.remove()


def owed_losses(records: Mapping[str, Record]) -> dict[str, Tensor]:
    """The records' losses by name, each the mean over the modules that owe it; empty where none does."""
    owed: dict[str, list[Tensor]] = {}
    for record in records.values():
        for name, value in record.losses.items():
            owed.setdefault(name, []).append(value)
    return {name: sum(values[1:], values[0]) / len(values) for name, values in owed.items()}
