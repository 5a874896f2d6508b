"""Checkpoints of tensors and plain data: written atomically, read without executing anything."""

from __future__ import annotations

import hashlib
import pickle
import random
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from structkd.errors import CheckpointError, nearest, reason
from structkd.files import atomic_torch_save, load_tensors


def plain(value: Any) -> Any:
    """`value` as tensors, numbers, strings and containers of them, all on the CPU.

    Raises `CheckpointError` for anything else, so that a checkpoint that could not be read back is never written.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value) if type(value) in (list, tuple) else [*map(plain, value)]
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    raise CheckpointError(f"A checkpoint holds tensors and plain data only, not {type(value).__name__}: {value!r:.80}")


def save(state: Mapping[str, Any], path: str | Path) -> None:
    """Write `state` atomically; the file loads with `torch.load(path, weights_only=True)`."""
    atomic_torch_save(plain(state), Path(path))


def load(path: str | Path, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a checkpoint. Raises `CheckpointError` naming the file when it is missing, damaged or unsafe."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {path}.")
    try:
        state = load_tensors(path, map_location)
    except pickle.UnpicklingError as error:  # torch's advice is to load it all the same; ours is not
        raise CheckpointError(f"{path} holds more than tensors and plain data, or is damaged: not loaded.") from error
    except Exception as error:  # what is raised depends on where the bytes stop making sense
        raise CheckpointError(f"{path} is no readable checkpoint (truncated?): {reason(error)}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}; expected a dict of tensors and plain data.")
    return state


def weights_checksum(path: str | Path) -> str:
    """Tells the tensors of a checkpoint from others by the checksums that the file holds of them; reads none of them.

    Raises `CheckpointError` naming the file when it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = {entry.filename.partition("/")[2]: (entry.CRC, entry.file_size) for entry in archive.infolist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is no readable checkpoint (truncated?): {reason(error)}") from error
    tensors = sorted(record for record in records.items() if record[0].startswith("data/"))
    return hashlib.sha256(repr(tensors).encode()).hexdigest()[:32]


def load_weights(model: nn.Module, state: Mapping[str, Any], source: str) -> None:
    """Load `state` into `model`, every key or none; the error names what does not fit."""
    own = model.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [
        f"{key}: {tuple(state[key].shape)} in the file, {tuple(own[key].shape)} in the model"
        for key in own.keys() & state.keys()
        if isinstance(state[key], torch.Tensor) and state[key].shape != own[key].shape
    ]
    if missing or unexpected or shapes:
        parts = [
            f"missing {', '.join(missing[:5])} ({len(missing)} keys)" if missing else "",
            f"unexpected {', '.join(unexpected[:5])} ({len(unexpected)} keys)" if unexpected else "",
            f"other shapes: {'; '.join(sorted(shapes)[:5])}" if shapes else "",
        ]
        hint = f" {nearest(missing[0], unexpected)}" if missing and unexpected else ""
        raise CheckpointError(
            f"{source} is a checkpoint of another model than this {type(model).__name__}: "
            + "; ".join(filter(None, parts))
            + f".{hint}"
        )
    model.load_state_dict(state)


def random_state() -> dict[str, Any]:
    """The state of every generator that training draws from."""
    numpy_state: dict[str, Any] = np.random.get_state(legacy=False)  # type: ignore[assignment]
    inner = numpy_state["state"]
    version, internal, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": numpy_state | {"state": inner | {"key": torch.from_numpy(inner["key"].astype(np.int64))}},
        "python": [version, list(internal), gauss],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Put back what `random_state` read."""
    torch.set_rng_state(state["torch"].cpu())
    inner = state["numpy"]["state"]
    np.random.set_state(state["numpy"] | {"state": inner | {"key": inner["key"].numpy().astype(np.uint32)}})
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    if "cuda" in state and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
