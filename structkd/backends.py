"""Which optional packages and devices are here, and which implementation of an op runs.

An op has one meaning and several backends. Each backend says why it cannot run on given inputs; the
first one with nothing to say runs. (One that nothing has shown to be faster waits to be asked for.) The last
backend is the reference: plain PyTorch, any device.

A backend can be forced, in this order of precedence, by argument (`spmm(..., backend="gather")`), by
`with use_backend("spmm", "gather")` and by the environment (`STRUCTKD_BACKEND="spmm=gather"`). The op `*`
means every op that has a backend of that name, and the backend `reference` means an op's last one. A forced
backend that cannot run is an error with its reasons, never a silent second choice.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import metadata
from typing import Any

import torch

from structkd.errors import ConfigError, DataError, nearest, reason

ENV = "STRUCTKD_BACKEND"
#: Every op by name, filled as `structkd.ops` is imported.
OPS: dict[str, Op] = {}


@cache
def version(package: str) -> str | None:
    """Version of an installed package, or None; nothing is imported to find out.

    Args:
        package: name on the package index (`scikit-learn`) or import name (`sklearn`).
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        # One import name may come from several packages: open3d and open3d-cpu, mmcv and mmcv-lite.
        owners = _owners().get(package)
        return metadata.version(owners[0]) if owners else None


@cache
def _owners() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


def import_open3d() -> Any:
    """The open3d module.

    Its library asks for the system's libusb, which servers and containers often lack; the one that the package
    `libusb-package` brings is loaded then. (open3d reads cameras with it, we never do.)

    Raises:
        ConfigError: open3d is not installed or does not load, with what to do about it.
    """
    try:
        import open3d
    except ImportError as first:
        try:
            import libusb_package

            ctypes.CDLL(str(libusb_package.get_library_path()), mode=ctypes.RTLD_GLOBAL)
            import open3d
        except (ImportError, OSError) as second:
            raise ConfigError(
                f"open3d does not load ({first}; {second}). Install it: pip install 'structkd[points]'. Where a system "
                "library is missing, on Debian and Ubuntu: apt install libusb-1.0-0 libgl1 libegl1 libx11-6 libgomp1."
            ) from second
    return open3d


def import_torchvision() -> Any:
    """The torchvision module.

    A build for CUDA next to a torch for the CPU cannot load its compiled operators, and then refuses to be imported
    because two of them are unknown to torch. They are declared here (their names and arguments, so calling one still
    fails): its models, and timm, need none.

    Raises:
        ConfigError: torchvision is not installed or does not load, with what to do about it.
    """
    try:
        return importlib.import_module("torchvision")
    except ImportError as error:
        raise ConfigError(f"torchvision does not load ({error}). {_VISION}") from error
    except RuntimeError as first:
        if "torchvision::" not in str(first):
            raise ConfigError(f"torchvision does not load ({reason(first)}). {_VISION}") from first
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # what the failed import left behind
    _declare_torchvision_operators()
    try:
        return importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as second:
        raise ConfigError(f"torchvision does not load ({reason(second)}). {_VISION}") from second


def import_timm() -> Any:
    """The timm module, after `import_torchvision`, which it needs; `ConfigError` where either is missing."""
    import_torchvision()
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise ConfigError(f"timm does not load ({error}). {_VISION}") from error


_VISION = "Install both: pip install --no-deps torchvision timm, torchvision in the version that belongs to your torch."


@cache
def _declare_torchvision_operators() -> Any:
    """The two operators that torchvision names at import; the library must live as long as they are to be known."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def devices() -> list[str]:
    """One line per device torch can use, the CPU first."""
    found = [f"cpu: {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"]
    for i in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(i)
        found.append(f"cuda:{i}: {card.name}, sm_{card.major}{card.minor}, {card.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def _nothing(*args: Any, **kwargs: Any) -> list[str]:
    return []


@dataclass(frozen=True)
class Backend:
    """One implementation of an op.

    Attributes:
        name: what a person writes to force it.
        run: the implementation; takes the op's arguments.
        why_not: takes the op's arguments and returns the reasons why `run` cannot take them (empty: it can).
            It is also called without any, for the table of `tools/info.py`, and then returns what can be
            said without inputs: a package or a device that is missing.
        on_request: it only runs when forced, because nothing has shown it to be faster than what follows it.
    """

    name: str
    run: Callable[..., Any]
    why_not: Callable[..., list[str]] = _nothing
    on_request: bool = False


class Op:
    """A named operation with its backends, best first and the reference last.

    Args:
        name: name in `OPS`, in `use_backend` and in the environment.
        backends: the implementations in order of preference.
    """

    def __init__(self, name: str, backends: Sequence[Backend]) -> None:
        self.name = name
        self.backends = list(backends)
        #: Takes the place of a call while torch.compile or torch.export traces: see `structkd.ops.traced`.
        self.traced: Callable[..., Any] | None = None
        OPS[name] = self

    @property
    def names(self) -> list[str]:
        """Names of the backends."""
        return [backend.name for backend in self.backends]

    def has(self, backend: str) -> bool:
        """Whether a backend goes by that name."""
        return backend == "reference" or backend in self.names

    def find(self, backend: str) -> Backend:
        """The backend of that name, `reference` being the last one; a `ConfigError` where there is none."""
        if not self.has(backend):
            raise ConfigError(f"Op {self.name} has no backend '{backend}'. {nearest(backend, self.names)}")
        return self.backends[-1 if backend == "reference" else self.names.index(backend)]

    def select(self, *args: Any, backend: str | None = None, **kwargs: Any) -> Backend:
        """The backend that runs on these inputs.

        Raises:
            ConfigError: the forced backend is unknown or cannot take the inputs.
            DataError: no backend can take the inputs.
        """
        choice = backend or forced(self)
        if choice is not None:
            chosen = self.find(choice)
            if reasons := chosen.why_not(*args, **kwargs):
                raise ConfigError(
                    f"Backend '{chosen.name}' of op {self.name} was forced but cannot run: {'; '.join(reasons)}."
                )
            return chosen
        refusals = []
        for candidate in self.backends:
            reasons = ["runs on request only"] if candidate.on_request else candidate.why_not(*args, **kwargs)
            if not reasons:
                return candidate
            refusals.append(f"{candidate.name}: {'; '.join(reasons)}")
        raise DataError(f"No backend of op {self.name} can run on these inputs. {'. '.join(refusals)}.")

    def __call__(self, *args: Any, backend: str | None = None, **kwargs: Any) -> Any:
        if self.traced is not None and torch.compiler.is_compiling():
            return self.traced(*args, backend=backend, **kwargs)
        return self.select(*args, backend=backend, **kwargs).run(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Op({self.name}: {', '.join(self.names)})"


_stack: ContextVar[tuple[tuple[str, str], ...]] = ContextVar("structkd_backends", default=())


@contextmanager
def use_backend(op: Op | str, name: str) -> Iterator[None]:
    """Force backend `name` of `op` (an `Op`, its name, or `*`) inside the block; the innermost block wins."""
    choice = (op.name if isinstance(op, Op) else op, name)
    _check(*choice)
    token = _stack.set((*_stack.get(), choice))
    try:
        yield
    finally:
        _stack.reset(token)


def forced(op: Op) -> str | None:
    """What the innermost block, or else the environment, asks of this op."""
    for target, name in (*reversed(_stack.get()), *reversed(_environment(os.environ.get(ENV, "")))):
        if target == op.name or (target == "*" and op.has(name)):
            return name
    return None


@lru_cache(maxsize=8)
def _environment(text: str) -> tuple[tuple[str, str], ...]:
    """`a=x,b=y` as pairs; what comes later wins, as an inner block does."""
    choices = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        target, sign, name = (part.strip() for part in entry.partition("="))
        if not (target and sign and name):
            raise ConfigError(f"{ENV} holds '{entry}'; expected op=backend pairs, such as 'spmm=gather,*=reference'.")
        _check(target, name)
        choices.append((target, name))
    return tuple(choices)


def _check(target: str, name: str) -> None:
    if target == "*":
        if not any(op.has(name) for op in OPS.values()):
            known = {known for op in OPS.values() for known in op.names}
            raise ConfigError(f"No op has a backend '{name}'. {nearest(name, known)}")
    elif target in OPS:
        OPS[target].find(name)
    else:
        raise ConfigError(f"There is no op '{target}' whose backend could be '{name}'. {nearest(target, OPS)}")
