"""A trained student as files that need nothing of structkd: weights, a `torch.export` program, an ONNX model.

What is exported is the student's own forward pass: no projector, teacher or hook. Every file is read back and
compared with the original, on the example and on a single element, so that free sizes are shown to be free.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import io
import logging
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from structkd import __version__
from structkd.backends import version
from structkd.engine.files import atomic_open, atomic_torch_save, atomic_write_bytes, atomic_write_json
from structkd.errors import ConfigError, DataError, nearest
from structkd.evaluation.efficiency import count_parameters
from structkd.ops.sparse_features import take_rows

#: Format -> file.
FILES = {"state_dict": "student.pt", "export": "student.pt2", "onnx": "student.onnx"}
#: Elements of the example that the exporters run on.
EXAMPLE_ROWS = 256

Inputs = tuple[Tensor, ...]
Outputs = dict[str, Tensor]


def export_student(
    model: nn.Module,
    example: Sequence[Tensor],
    out_dir: str | Path,
    formats: Sequence[str] = tuple(FILES),
    *,
    kwargs: Mapping[str, Any] | None = None,
    source: Mapping[str, Any] | None = None,
    tolerance: float = 1e-4,
) -> dict[str, Any]:
    """Write `model` in `formats` and `model_card.json` to `out_dir`; the model itself stays as it is.

    Args:
        model: the bare student; exported in eval mode, on the CPU.
        example: what to call it with. The first dimension of the first tensor counts elements and is free in the
            exported programs; an integer [2, E] tensor is an edge list, whose E is free. Sparse features become dense.
        out_dir: folder; files of an earlier export are replaced, each at once.
        formats: any of "state_dict" (plain module keys, loads with `weights_only=True`), "export" (`torch.export`),
            "onnx" (checked in onnxruntime).
        kwargs: constructor arguments, for the model card; whether they rebuild the same model is tried.
        source: where the weights come from, for the model card.
        tolerance: largest accepted difference of an output, times max(1, largest output); float32 has about 1e-6.

    Returns:
        The model card. `card["formats"][name]["ok"]` tells whether that file gives the outputs of the original.

    Raises:
        ConfigError: unknown format, a missing package, or a model that cannot be traced.
        DataError: no example tensor.
    """
    for name in formats:
        if name not in FILES:
            raise ConfigError(f"There is no export format '{name}'. {nearest(name, FILES)}")
    missing = [package for package in ("onnx", "onnxscript", "onnxruntime") if version(package) is None]
    if "onnx" in formats and missing:
        raise ConfigError(
            f"Export to ONNX needs {', '.join(missing)}: pip install 'structkd[onnx]', or leave the format out."
        )
    if not example:
        raise DataError("A student is exported by running it on an example, and the example holds no tensor.")

    bare = _bare(model)
    inputs = first_elements(example, EXAMPLE_ROWS)
    names = list(inspect.signature(bare.forward).parameters)[: len(inputs)]
    cases = [inputs, first_elements(inputs, 1)]
    with torch.no_grad():
        expected = [named_outputs(bare(*case)) for case in cases]
    out_dir = Path(out_dir)

    def check(run: Callable[[Inputs], Outputs], path: Path) -> dict[str, Any]:
        pairs = [(run(case), wanted) for case, wanted in zip(cases, expected)]
        difference = max(_difference(got, wanted) for got, wanted in pairs)
        largest = max([1.0, *(float(value.abs().max()) for value in expected[0].values() if value.numel())])
        return {
            "file": path.name,
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "max_abs_difference": difference,
            "ok": difference <= tolerance * largest,
        }

    writers = {"state_dict": write_state_dict, "export": write_program, "onnx": write_onnx}
    written = {}
    for name in formats:
        path = out_dir / FILES[name]
        run = writers[name](bare, inputs, names, list(expected[0]), path)
        written[name] = check(run, path)

    sizes = [free_sizes(tensor, index, inputs) for index, tensor in enumerate(inputs)]
    card = {
        "class": f"{type(bare).__module__}.{type(bare).__qualname__}",
        "kwargs": dict(kwargs) if kwargs is not None else None,
        "kwargs_rebuild_it": _rebuilds(bare, kwargs, inputs, expected[0]) if kwargs is not None else None,
        "parameters": count_parameters(bare),
        "weights": {key: list(value.shape) for key, value in bare.state_dict().items()},
        "inputs": {
            name: {"shape": [free.get(dim, size) for dim, size in enumerate(tensor.shape)], "dtype": _dtype(tensor)}
            for name, tensor, free in zip(names, inputs, sizes)
        },
        "outputs": {
            name: {
                "shape": ["elements" if size == len(inputs[0]) and dim == 0 else size for dim, size in enumerate(value.shape)],
                "dtype": _dtype(value),
            }
            for name, value in expected[0].items()
        },
        "formats": written,
        "tolerance": tolerance,
        "source": dict(source or {}),
        "versions": {
            "structkd": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "onnx", "onnxruntime")},
        },
    }
    atomic_write_json(out_dir / "model_card.json", card)
    return card


def first_elements(example: Sequence[Tensor], count: int) -> Inputs:
    """The example cut to its first `count` elements, dense: rows, the edges among them, and whatever else has rows."""
    total = example[0].size(0)
    count = min(count, total)
    rows = torch.arange(count)
    parts = []
    for tensor in example:
        tensor = tensor.detach().cpu()
        if is_edge_list(tensor):
            tensor = tensor[:, (tensor < count).all(0)]
        elif tensor.dim() and tensor.size(0) == total:
            tensor = take_rows(tensor, rows)
        parts.append(tensor.to_dense() if tensor.layout != torch.strided else tensor.contiguous())
    return tuple(parts)


def recorded_kwargs(model: nn.Module, state: Mapping[str, Any]) -> dict[str, Any] | None:
    """The constructor arguments that a student file records: those of its config and what its data settled."""
    if "model" not in state:
        return None
    accepted = inspect.signature(type(model)).parameters
    facts = {key: value for key, value in state.get("facts", {}).items() if key in accepted}
    return {**facts, **{key: value for key, value in state["model"].items() if key != "type"}}


def _bare(model: nn.Module) -> nn.Module:
    bare = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    for module in bare.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return bare


def _difference(got: Outputs, wanted: Outputs) -> float:
    """The largest absolute difference; infinite where names, shapes or finiteness disagree."""
    if list(got) != list(wanted) or any(got[name].shape != wanted[name].shape for name in wanted):
        return float("inf")
    worst = 0.0
    for name, value in wanted.items():
        if value.numel() and not torch.equal(got[name], value):
            gap = float((got[name].double() - value.double()).abs().max())
            worst = max(worst, gap if gap == gap else float("inf"))
    return worst


def _rebuilds(model: nn.Module, kwargs: Mapping[str, Any], inputs: Inputs, expected: Outputs) -> bool:
    try:
        again = type(model)(**kwargs)
        again.load_state_dict(model.state_dict())
        with torch.no_grad():
            return _difference(named_outputs(again.eval()(*inputs)), expected) == 0
    except (TypeError, ValueError, RuntimeError):
        return False


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
