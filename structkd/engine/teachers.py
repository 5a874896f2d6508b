"""Teachers as a task meets them: for a batch they give a Structure, and they are never trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from structkd.adapters import Adapter
from structkd.errors import DataError, WiringError
from structkd.structure import Structure


class Teacher:
    """Base: `provides` tells which fields a batch's Structure will hold."""

    provides: frozenset[str] = frozenset()

    def __call__(self, batch: Data) -> Structure:
        raise NotImplementedError

    def prepare(self, distiller_prepare: Callable[[Structure], Structure]) -> None:
        """Let a distiller add what it computes once from the whole teacher structure."""

    def after_step(self, student: nn.Module) -> None:
        """Called after each optimiser step (momentum teachers follow the student here)."""

    def state_dict(self) -> dict[str, Tensor]:
        """What must be saved to resume; nothing for frozen teachers."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Put back what `state_dict` gave."""


class StoredTeacher(Teacher):
    """Outputs computed once over everything observed, looked up by global element id.

    Args:
        structure: the outputs with `n_id` [N] (global ids, any order, each at most once).
        expand: what is made of the rows of a batch before they are handed on (`Adapter.expand`).
    """

    def __init__(self, structure: Structure, expand: Callable[[Structure], Structure] | None = None) -> None:
        ids = structure.n_id
        if ids.unique().numel() != ids.numel():
            raise DataError("The stored teacher outputs hold some element ids (n_id) more than once.")
        self.structure, self._expand = structure, expand
        self._row = torch.full((int(ids.max()) + 1 if ids.numel() else 0,), -1, dtype=torch.long)
        self._row[ids] = torch.arange(ids.numel())
        self._whole: Structure | None = None

    @property
    def provides(self) -> frozenset[str]:  # type: ignore[override]
        if self._expand is None:
            return self.structure.provides
        return self._expand(self.structure.select(torch.arange(0))).provides

    def prepare(self, distiller_prepare: Callable[[Structure], Structure]) -> None:
        self.structure, self._whole = distiller_prepare(self.structure), None

    def _served(self, rows: Tensor | None, device: torch.device) -> Structure:
        """What batches get: the input features served the preparation only, and cutting them would cost the most."""
        fields = self.structure.to_dict()
        served = Structure(**{name: value for name, value in fields.items() if name not in ("input", "replay")})
        served = (served if rows is None else served.select(rows)).to(device)
        return served if self._expand is None else self._expand(served)

    def __call__(self, batch: Data) -> Structure:
        ids = batch.n_id
        device = ids.device
        if ids.numel() == self.structure.n_id.numel() and torch.equal(ids.cpu(), self.structure.n_id):
            # The whole structure in its own order: no row is copied, and its edges stay in place.
            if self._whole is None or self._whole.n_id.device != device:
                self._whole = self._served(None, device)
            return self._whole
        cpu_ids = ids.cpu()
        if cpu_ids.numel() and int(cpu_ids.max()) >= self._row.numel():
            raise DataError(self._unknown(cpu_ids[cpu_ids >= self._row.numel()]))
        rows = self._row[cpu_ids]
        if bool((rows < 0).any()):
            raise DataError(self._unknown(cpu_ids[rows < 0]))
        return self._served(rows, device)

    @staticmethod
    def _unknown(ids: Tensor) -> str:
        return (
            f"The batch holds elements the teacher was never run on (n_id {ids[:5].tolist()}"
            f"{', ...' if ids.numel() > 5 else ''}): held-out elements must not reach distillation."
        )


class LiveTeacher(Teacher):
    """A model that runs on every batch, in eval mode and without gradients.

    Args:
        model: the teacher; its parameters and buffers never change unless `momentum` is given.
        adapter: reads it.
        momentum: the teacher starts as given and follows the student, `t <- m t + (1 - m) s`, after each step
            (buffers are copied); the student must have the same parameters.
    """

    def __init__(self, model: nn.Module, adapter: Adapter, momentum: float | None = None) -> None:
        self.model = model.eval().requires_grad_(False)
        self.adapter = adapter
        self.momentum = momentum
        self.provides = adapter.provides
        self._preparations: list[Callable[[Structure], Structure]] = []
        adapter.check(model)

    def prepare(self, distiller_prepare: Callable[[Structure], Structure]) -> None:
        self._preparations.append(distiller_prepare)

    def __call__(self, batch: Data) -> Structure:
        self.model.to(_device(batch)).eval()
        with torch.no_grad():
            structure = self.adapter(self.model, batch)
        for prepare in self._preparations:
            structure = prepare(structure)
        return structure

    @torch.no_grad()
    def after_step(self, student: nn.Module) -> None:
        if self.momentum is None:
            return
        mine, theirs = dict(self.model.named_parameters()), dict(student.named_parameters())
        if mine.keys() != theirs.keys():
            raise WiringError("A momentum teacher needs a student with the same parameters.")
        for name, parameter in mine.items():
            parameter.lerp_(theirs[name].to(parameter), 1 - self.momentum)
        for own, buffer in zip(self.model.buffers(), student.buffers()):
            own.copy_(buffer)

    def state_dict(self) -> dict[str, Tensor]:
        return self.model.state_dict() if self.momentum is not None else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if self.momentum is not None:
            self.model.load_state_dict(state)


def _device(batch: Any) -> torch.device:
    return next(value.device for value in batch.to_dict().values() if isinstance(value, Tensor))


class EmbeddedPairs(nn.Module):
    """A link model whose encoder has run: stored embeddings, and the predictor for the pairs it is asked about.

    Args:
        x: [N, C] node embeddings.
        predictor: (x_i, x_j) -> scores.

    Shapes: `forward(pairs [2, P]) -> [P]`.
    """

    def __init__(self, x: Tensor, predictor: nn.Module) -> None:
        super().__init__()
        self.x: Tensor
        self.register_buffer("x", x)
        self.predictor = predictor

    def forward(self, pairs: Tensor) -> Tensor:
        return self.predictor(self.x[pairs[0]], self.x[pairs[1]])


class GraphTeacher(Teacher):
    """Stored outputs on a set of graphs: `logits` are looked up by graph, everything else by node.

    Args:
        structure: the outputs, with `logits` [G, K], `n_id` [N] and other fields of N rows.
        graph_id: [G] global ids of the graphs, in the order of their logits.
    """

    def __init__(self, structure: Structure, graph_id: Tensor) -> None:
        self.structure, self.graph_id = structure, graph_id
        self._graphs = StoredTeacher(Structure(logits=structure.logits, n_id=graph_id))
        nodes = {name: value for name, value in structure.to_dict().items() if name != "logits"}
        self._nodes = StoredTeacher(Structure(**nodes))

    @property
    def provides(self) -> frozenset[str]:  # type: ignore[override]
        return self.structure.provides

    def prepare(self, distiller_prepare: Callable[[Structure], Structure]) -> None:
        self.__init__(distiller_prepare(self.structure), self.graph_id)  # type: ignore[misc]

    def __call__(self, batch: Data) -> Structure:
        graphs = self._graphs(Data(n_id=batch.graph_id))
        return Structure(**self._nodes(batch).to_dict(), logits=graphs.logits)
