"""Which of mmcv's operators are here, by the names that its extension has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Operator:
    """One function of mmcv's extension, as it is provided here.

    Attributes:
        name: as `mmcv._ext` calls it.
        run: takes the extension's arguments, those that it fills included.
        built_on: what of structkd does the work; "torch" where it is plain PyTorch.
        differs: where the result is not the CUDA kernel's to the bit, in a few words; empty where nothing is known.
    """

    name: str
    run: Callable[..., Any]
    built_on: str
    differs: str


#: Every operator that is here, by name.
OPERATORS: dict[str, Operator] = {}


def operator(name: str, built_on: str = "torch", differs: str = "") -> Callable[[F], F]:
    """Enter the decorated function into `OPERATORS`."""

    def enter(run: F) -> F:
        OPERATORS[name] = Operator(name, run, built_on, differs)
        return run

    return enter
