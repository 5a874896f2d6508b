"""Work that is done when a module is imported: at once where it is there already, otherwise right after it loads."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Patch = Callable[[Any], None]


class _After(Loader):
    """Loads as `loader` does, then calls the patches."""

    def __init__(self, loader: Any, patches: list[Patch]) -> None:
        self.loader, self.patches = loader, patches

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader  # what importlib.resources and inspect ask
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        for patch in self.patches:
            patch(module)


class _Finder(MetaPathFinder):
    """Stands before the other finders and lets them find the modules that have patches."""

    def __init__(self) -> None:
        self.patches: dict[str, list[Patch]] = {}
        self.searching: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.patches or fullname in self.searching:
            return None
        self.searching.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self.searching.discard(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _After(spec.loader, self.patches[fullname])
        return spec


_finder = _Finder()


def when_imported(name: str, patch: Patch) -> None:
    """Call `patch(module)` as soon as module `name` is there, once for each patch."""
    known = _finder.patches.setdefault(name, [])
    if patch in known:
        return
    known.append(patch)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    if name in sys.modules:
        patch(sys.modules[name])
