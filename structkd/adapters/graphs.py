"""GraphAdapter: a GNN, an MLP or any callable on a graph, read as a Structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch_geometric.data import Data

from structkd.adapters.base import Adapter
from structkd.adapters.taps import check_taps, tapped
from structkd.errors import ConfigError, DataError, WiringError
from structkd.models.graphs.layerwise import inference
from structkd.ops.loops import with_self_loops
from structkd.structure import Structure

#: What a Structure takes over from the graph as it is.
GRAPH_FIELDS = ("edge_index", "edge_weight", "edge_scale", "n_id", "batch", "mask")


class GraphAdapter(Adapter):
    """Reads one forward pass of a model on a PyG `Data`.

    Args:
        inputs: names of the fields the model is called with, in order: `("x", "edge_index")` for a GNN (the
            default), `("x",)` for a graph-free student, `("data",)` for a model that takes the `Data` itself.
        taps: field name -> submodule path; the submodule's output becomes that field, e.g. `{"x": "lins.0"}`.
        fields: names a model provides by returning a dict instead of a tensor (beside `logits`).
        self_loops: call the model with a loop added at every node, as the CPF protocol runs its teachers; the
            Structure keeps the edges as they are.
        chunk: in evaluation, compute the logits layer by layer for all nodes in blocks of so many rows
            (`structkd.models.inference`), for graphs whose whole forward pass does not fit in memory. Needs the
            inputs `("x", "edge_index")` and no taps.
        expose_input: also provide `input`, the features the model was given [N, F], and `replay`, which runs
            the model on other features (needed by NOSMOG and KRD).

    The model returns logits [N, K] (or [graphs, K]), or a dict with `logits`, further fields and, under
    `losses`, scalar losses it owes. Errors: `WiringError` for a tap without a module or a promised field the
    model did not return, `DataError` for an input the graph does not hold.
    """

    def __init__(
        self,
        inputs: Sequence[str] = ("x", "edge_index"),
        taps: Mapping[str, str] | None = None,
        fields: Sequence[str] = (),
        expose_input: bool = False,
        self_loops: bool = False,
        chunk: int | None = None,
    ) -> None:
        self.inputs = tuple(inputs)
        self.taps = dict(taps or {})
        self.fields = tuple(fields)
        self.expose_input = expose_input
        self.self_loops = self_loops
        self.chunk = chunk
        if chunk is not None and (self.taps or self.fields or self.inputs != ("x", "edge_index")):
            raise ConfigError(
                f"chunk={chunk} asks for layer-wise inference, which takes the inputs x and edge_index and gives the "
                f"logits alone; got inputs={self.inputs}, taps={self.taps}, fields={self.fields}."
            )
        exposed = {"input"} if expose_input else set()
        self.provides = frozenset({"logits", *GRAPH_FIELDS, *self.taps, *self.fields, *exposed})

    def check(self, model: nn.Module | Callable[..., Any]) -> None:
        if isinstance(model, nn.Module):
            check_taps(model, self.taps)
        elif self.taps:
            raise WiringError(f"Taps {sorted(self.taps)} need an nn.Module, but the model is a {type(model).__name__}.")

    def __call__(self, model: nn.Module | Callable[..., Any], inputs: Data) -> Structure:
        return self._run(model, inputs, [self._take(inputs, name) for name in self.inputs])

    def _take(self, data: Data, name: str) -> Any:
        if name == "data":
            return data
        value = data.get(name)
        if value is None:
            raise DataError(f"The model reads '{name}', which the graph does not hold (it has {sorted(data.keys())}).")
        if name == "edge_index" and self.self_loops:
            return with_self_loops(value, int(data.num_nodes or 0))
        return value

    def _run(self, model: nn.Module | Callable[..., Any], data: Data, args: list[Any]) -> Structure:
        if self.chunk is not None and isinstance(model, nn.Module) and not model.training:
            x, edge_index = args
            output, tap_outputs = inference(model, x, edge_index, self.chunk), {}
        elif isinstance(model, nn.Module):
            with tapped(model, self.taps) as tap_outputs:
                output = model(*args)
        else:
            self.check(model)
            output, tap_outputs = model(*args), {}
        returned = dict(output) if isinstance(output, Mapping) else {"logits": output}
        if not isinstance(returned.get("logits"), Tensor):
            raise WiringError(f"{type(model).__name__} returned no logits; expected a tensor or a dict with 'logits'.")
        missing = sorted(set(self.fields) - set(returned))
        if missing:
            raise WiringError(
                f"The adapter promises {', '.join(missing)}, but {type(model).__name__} returned only "
                f"{', '.join(sorted(returned))}."
            )
        structure = Structure(**{name: data.get(name) for name in GRAPH_FIELDS})
        for name, value in (returned | tap_outputs).items():
            structure[name] = value
        if self.expose_input:
            self._expose(structure, model, data, args)
        return structure

    def _expose(self, structure: Structure, model: Any, data: Data, args: list[Any]) -> None:
        if "x" not in self.inputs:
            raise WiringError(f"expose_input needs a model called with 'x'; this one is called with {self.inputs}.")
        place = self.inputs.index("x")
        structure["input"] = args[place]
        structure["replay"] = lambda x: self._run(model, data, [*args[:place], x, *args[place + 1 :]])
