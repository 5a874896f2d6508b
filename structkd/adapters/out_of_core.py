"""OutOfCoreAdapter: a GNN on a graph on disk, sampled in training and run layer by layer in evaluation."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch_geometric.data import Data

from structkd.adapters.graphs import GRAPH_FIELDS, GraphAdapter
from structkd.errors import ConfigError
from structkd.models.graphs.mapped_inference import mapped_inference
from structkd.structure import Structure


class OutOfCoreAdapter(GraphAdapter):
    """As `GraphAdapter`, but a batch that names the whole graph on disk is answered from exact whole-graph logits.

    Evaluation batches of `DiskNodeTask` hold a few nodes' features and, as `disk`, the `DiskGraph`. A graph-free model
    reads the features. A GNN is run over the whole graph by `structkd.models.mapped_inference`, once for the weights
    it has, and its logits stay in a scratch file until the weights change; training batches are sampled subgraphs
    as ever.

    Args: as `GraphAdapter`, without `chunk`, `expose_input` and `self_loops`; taps are there in training batches only.
    """

    def __init__(self, inputs: Any = ("x", "edge_index"), **options: Any) -> None:
        refused = sorted({"chunk", "expose_input", "self_loops"} & {key for key, value in options.items() if value})
        if refused:
            raise ConfigError(f"OutOfCoreAdapter does not take {', '.join(refused)}: the graph is never held whole.")
        super().__init__(inputs, **options)
        self._seen: tuple[Any, ...] | None = None
        self._logits: Tensor | None = None

    def __call__(self, model: nn.Module | Callable[..., Any], inputs: Data) -> Structure:
        disk = inputs.get("disk")
        if disk is None or "edge_index" not in self.inputs or not isinstance(model, nn.Module):
            return super().__call__(model, inputs)
        logits = self.whole(model, disk)[inputs.n_id.cpu()].to(inputs.n_id.device)
        return Structure(**{name: inputs.get(name) for name in GRAPH_FIELDS}, logits=logits)

    def whole(self, model: nn.Module, disk: Any) -> Tensor:
        """[N, K] logits of all nodes of a `DiskGraph`, computed anew when the weights have changed."""
        weights = [*model.parameters(), *model.buffers()]
        state = tuple((id(tensor), tensor._version) for tensor in weights)
        known = self._seen is not None and self._seen[0]() is model and self._seen[1]() is disk
        if not known or self._seen is None or self._seen[2] != state:
            self._logits = None  # its file goes before the next one comes
            csr = disk.csr if "edge_index" in self.inputs else None
            self._logits = mapped_inference(model, disk.x, csr, disk.scratch, sources=disk.sources)
            self._seen = weakref.ref(model), weakref.ref(disk), state
        assert self._logits is not None
        return self._logits
