"""The module that stands for mmcv's compiled extension."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

from mmcv_ops.names import USED_BY
from mmcv_ops.registry import OPERATORS

NAME = "mmcv._ext"


class Extension(ModuleType):
    """`mmcv._ext` without a compiler: the operators that are here, and an error that names any other."""

    def __init__(self) -> None:
        super().__init__(NAME, "mmcv's extension on the operators of structkd; see mmcv_ops.info().")
        # mmengine asks the specification whether mmcv is complete, and no loader is needed for what is loaded.
        self.__spec__ = importlib.machinery.ModuleSpec(NAME, None, origin="mmcv_ops")
        self.__file__ = __file__
        for name, entry in OPERATORS.items():
            setattr(self, name, entry.run)

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        # mmcv's files ask for their functions when they are imported, whether or not they are ever called.
        if name.startswith("__"):
            raise AttributeError(name)
        return missing(name)


def missing(name: str) -> Callable[..., NoReturn]:
    """A function that raises `NotImplementedError` naming the operator."""

    def stub(*args: Any, **kwargs: Any) -> NoReturn:
        where = f" (mmcv.ops.{USED_BY[name]})" if name in USED_BY else ""
        raise NotImplementedError(
            f"mmcv's operator '{name}'{where} is not among those that mmcv_ops provides. "
            "`python -m mmcv_ops` lists them; with a compiled mmcv 2.1.0 in place of mmcv-lite its own are used."
        )

    stub.__name__ = stub.__qualname__ = name
    return stub


def compiled() -> str | None:
    """Path of a compiled `mmcv._ext`, or None; mmcv is not imported to find out."""
    mmcv = importlib.util.find_spec("mmcv")
    places = None if mmcv is None else mmcv.submodule_search_locations
    found = None if places is None else importlib.machinery.PathFinder.find_spec(NAME, list(places))
    return None if found is None else found.origin
