"""Checkpoints of mmengine read without running what is in them.

A checkpoint is a pickle, and reading one with `pickle` runs whatever code it names. torch therefore reads tensors and
plain values only, since 2.6, and refuses what mmengine itself writes beside them: the running means of its message
hub, NumPy scalars, configs. Here these few are let in by name, and nothing else.
"""

from __future__ import annotations

import functools
import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from mmcv_ops.hooks import when_imported
from structkd.datasets.pickles import ALLOWED
from structkd.errors import CheckpointError, reason

ENV = "STRUCTKD_TRUST_CHECKPOINTS"
#: Plain data of mmengine, torch, NumPy and Python; none of them runs code when it is built.
SAFE = {
    *ALLOWED,
    "collections.OrderedDict",
    "collections.defaultdict",
    "collections.deque",
    "builtins.dict",
    "builtins.list",
    "builtins.tuple",
    "builtins.int",
    "builtins.float",
    "builtins.complex",
    "builtins.slice",
    "builtins.frozenset",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "torch.Size",
    "torch.device",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",
    "torch.serialization._get_layout",
    "mmengine.logging.history_buffer.HistoryBuffer",  # of its attributes, the methods in _STATISTICS
    "mmengine.config.config.ConfigDict",
    "addict.addict.Dict",
}
_BUFFER = "mmengine.logging.history_buffer.HistoryBuffer"
_STATISTICS = ("min", "max", "mean", "current")
#: Storages and dtypes are named one by one: torch.FloatStorage, torch.float32 ...
_KINDS = (torch.dtype, torch.layout, torch.memory_format)
_trusted = False


class _Refused(pickle.UnpicklingError):
    """The file names something that is not plain data."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in ("builtins.getattr", "__builtin__.getattr"):
            return _statistic
        if full.startswith(f"{_BUFFER}.") and name.partition(".")[2] in _STATISTICS:
            return super().find_class(module, name)
        if module == "torch" and isinstance(getattr(torch, name, None), _KINDS):
            return getattr(torch, name)
        if module in ("torch", "torch.storage") and name.endswith("Storage"):
            return super().find_class(module, name)
        if full not in SAFE:
            raise _Refused(full)
        return super().find_class(module, name)


def _statistic(owner: Any, name: str) -> Any:
    """`getattr` for the methods of a `HistoryBuffer`, which it keeps in a table, and for nothing else."""
    if f"{getattr(owner, '__module__', '')}.{getattr(owner, '__name__', '')}" != _BUFFER or name not in _STATISTICS:
        raise _Refused(f"attribute {name} of {owner!r}")
    return getattr(owner, name)


#: What `torch.load` asks of a `pickle_module`.
_pickle = SimpleNamespace(
    __name__="mmcv_ops.checkpoints", Unpickler=_Unpickler, load=lambda *a, **k: _Unpickler(*a, **k).load()
)


def load_checkpoint(path: str | os.PathLike[str], map_location: Any = None) -> Any:
    """What the checkpoint holds: tensors, plain values, and what mmengine writes beside them.

    Raises:
        CheckpointError: no such file, a damaged one, or one that names anything else (the message says what, and how
            to load it all the same).
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {path}.")
    if _trusted:
        return torch.load(path, map_location=map_location, weights_only=False)
    try:
        return torch.load(path, map_location=map_location, weights_only=False, pickle_module=_pickle)
    except _Refused as error:
        raise CheckpointError(
            f"{path} asks for {reason(error)}, which is neither tensors nor plain data; it was not loaded, because "
            f"that can run code. If you trust its source: {ENV}=1, or mmcv_ops.install(trust_checkpoints=True)."
        ) from error
    except Exception as error:  # a damaged file can raise anything
        raise CheckpointError(f"{path} is no readable checkpoint ({reason(error)}).") from error


def safe_checkpoints(trust: bool | None = None) -> None:
    """Let mmengine read files by `load_checkpoint`; `trust` as in `install`."""
    global _trusted
    if trust is not None:
        _trusted = trust
    elif os.environ.get(ENV) == "1":
        _trusted = True
    when_imported("mmengine.runner.checkpoint", _replace_loaders)


def trusted() -> bool:
    """Whether checkpoints with arbitrary objects are loaded."""
    return _trusted


def _replace_loaders(module: Any) -> None:
    @functools.wraps(load_checkpoint)
    def load_from_local(filename: str, map_location: Any = None) -> Any:
        return load_checkpoint(filename, map_location)

    @functools.wraps(load_checkpoint)
    def load_from_http(
        filename: str, map_location: Any = None, model_dir: str | None = None, progress: bool = True
    ) -> Any:
        folder = Path(model_dir or torch.hub.get_dir()) / ("" if model_dir else "checkpoints")
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / filename.rsplit("/", 1)[-1].partition("?")[0]
        if not file.is_file():
            torch.hub.download_url_to_file(filename, str(file), progress=progress)
        return load_checkpoint(file, map_location)

    # mmengine takes the tenth character on of a loader's name for the name of the backend, in what it logs.
    load_from_local.__name__, load_from_http.__name__ = "load_from_local", "load_from_http"
    module.CheckpointLoader.register_scheme("", load_from_local, force=True)
    module.CheckpointLoader.register_scheme(["http://", "https://"], load_from_http, force=True)
    module.load_from_local, module.load_from_http = load_from_local, load_from_http
