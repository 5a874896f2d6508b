"""The export formats: each writes its file and returns a way to run what was written."""

from __future__ import annotations

import copy
import io
import logging
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from structkd.errors import ConfigError
from structkd.files import atomic_torch_save, atomic_write_bytes
from structkd.ops.sparse_features import take_rows

Inputs = tuple[Tensor, ...]
Outputs = dict[str, Tensor]
Run = Callable[[Inputs], Outputs]


def write_state_dict(model: nn.Module, inputs: Inputs, names: list[str], outputs: list[str], path: Path) -> Run:
    atomic_torch_save({key: value.clone() for key, value in model.state_dict().items()}, path)
    again = copy.deepcopy(model)
    for tensor in again.state_dict().values():
        tensor.zero_()  # so that the outputs can only come from the file
    again.load_state_dict(torch.load(path, weights_only=True))
    return _runner(again)


def write_program(model: nn.Module, inputs: Inputs, names: list[str], outputs: list[str], path: Path) -> Run:
    with _tracing(model, "torch.export"):
        program = torch.export.export(model, inputs, dynamic_shapes=_dynamic_shapes(inputs))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    atomic_write_bytes(path, buffer.getbuffer())
    return _runner(torch.export.load(path).module())


def write_onnx(model: nn.Module, inputs: Inputs, names: list[str], outputs: list[str], path: Path) -> Run:
    # Values of a graph have one name each: an output called like an input (the embeddings `x`) becomes `x_out`.
    values = [f"{name}_out" if name in names else name for name in outputs]
    with _tracing(model, "torch.onnx.export"):
        program = torch.onnx.export(
            model,
            inputs,
            dynamo=True,
            dynamic_shapes=_dynamic_shapes(inputs),
            input_names=names,
            output_names=values,
            verbose=False,
        )
    if program is None:
        raise ConfigError(f"torch.onnx.export gave nothing for {type(model).__name__}.")
    atomic_write_bytes(path, program.model_proto.SerializeToString())

    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(case: Inputs) -> Outputs:
        feed = {name: tensor.numpy() for name, tensor in zip(names, case)}
        return dict(zip(outputs, map(torch.from_numpy, session.run(values, feed))))

    return run


def _runner(model: nn.Module) -> Run:
    def run(case: Inputs) -> Outputs:
        with torch.no_grad():
            return named_outputs(model(*case))

    return run


@contextmanager
def _tracing(model: nn.Module, exporter: str) -> Iterator[None]:
    """Without gradients and the exporters' chatter; whatever an exporter raises becomes one readable error."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)  # what matters comes as an exception
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        reason = textwrap.shorten(str(error), 160, placeholder=" ...") or "no reason given"
        raise ConfigError(
            f"{exporter} cannot trace {type(model).__name__}, which happens to models that read edges through sparse "
            f"kernels or branch on their data ({type(error).__name__}: {reason}). "
            "Its weights can still be exported: format state_dict."
        ) from error
    finally:
        logging.disable(level)


def named_outputs(value: Any, prefix: str = "") -> Outputs:
    """The tensors of a model's output by name: "logits" for a lone tensor, otherwise keys and positions with dots."""
    if isinstance(value, Tensor):
        return {prefix or "logits": value}
    if isinstance(value, Mapping):
        items: Iterator[tuple[Any, Any]] = iter(value.items())
    elif isinstance(value, (list, tuple)):
        items = iter(enumerate(value))
    else:
        raise ConfigError(
            f"Only tensors can be exported, and the model's output '{prefix}' is a {type(value).__name__}."
        )
    named: Outputs = {}
    for key, item in items:
        named |= named_outputs(item, f"{prefix}.{key}" if prefix else str(key))
    return named


def first_elements(example: Sequence[Tensor], count: int) -> Inputs:
    """The example cut to its first `count` elements, dense: rows, the edges among them, and whatever else has rows."""
    total = example[0].size(0)
    rows = torch.arange(min(count, total))
    parts = []
    for index, tensor in enumerate(example):
        tensor = tensor.detach().cpu()
        if _is_edge_list(tensor, index):
            tensor = tensor[:, (tensor < rows.numel()).all(0)]
        elif tensor.dim() and tensor.size(0) == total:
            tensor = take_rows(tensor, rows)
        parts.append(tensor.to_dense() if tensor.layout != torch.strided else tensor.contiguous())
    return tuple(parts)


def free_sizes(inputs: Inputs) -> list[dict[int, str]]:
    """For each input, dimension -> name of those dimensions that vary from call to call."""
    return [
        {1: "edges"}
        if _is_edge_list(tensor, index)
        else {0: "elements"}
        if tensor.dim() and tensor.size(0) == inputs[0].size(0)
        else {}
        for index, tensor in enumerate(inputs)
    ]


def _dynamic_shapes(inputs: Inputs) -> tuple[dict[int, Any], ...]:
    dims = {name: Dim(name) for name in ("elements", "edges")}
    return tuple({dim: dims[name] for dim, name in free.items()} for free in free_sizes(inputs))


def _is_edge_list(tensor: Tensor, index: int) -> bool:
    return index > 0 and tensor.dim() == 2 and tensor.size(0) == 2 and not tensor.is_floating_point()


#: Format -> its file and its writer.
FORMATS = {
    "state_dict": ("student.pt", write_state_dict),
    "export": ("student.pt2", write_program),
    "onnx": ("student.onnx", write_onnx),
}
