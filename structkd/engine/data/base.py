"""DataModule: everything a stage asks of its data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from structkd.adapters import Adapter
from structkd.engine.objectives import Objective
from structkd.engine.registry import DATASETS, build
from structkd.engine.teachers import StoredTeacher, Teacher
from structkd.errors import ConfigError
from structkd.structure import Structure


class FinishedStage(Protocol):
    """What a data module may ask of a stage that has run.

    Attributes:
        folder: what it writes into.
    """

    folder: Path

    def outputs(self) -> Structure:
        """Its stored outputs, with the observed edges; an error where they came from other nodes or edges."""

    def load_model(self) -> nn.Module:
        """Its model, in eval mode."""

    def build_adapter(self) -> Adapter:
        """How that model is read."""


class DataModule:
    """A dataset under a protocol.

    Attributes:
        protocol: a sentence for tables: name, setting, how the split is drawn.
        primary_metric: what tables lead with.
        selection: what the best epoch is chosen by: arguments of `SelectionHook`, a validation metric above all.
        adapter: type of the adapter where a config names none.
        reports_last: whether results also hold the test metrics of the last epoch, as `last/...`.
        stores_outputs: whether a teacher's outputs are stored once; not where each batch is augmented anew.
    """

    protocol: str = ""
    primary_metric: str = "test/accuracy"
    selection: Mapping[str, Any] = MappingProxyType({"metric": "val/accuracy"})
    adapter: str = "GraphAdapter"
    reports_last: bool = False
    stores_outputs: bool = True

    def setup(self, seed: int) -> None:
        """Draw the split of this seed."""
        raise NotImplementedError

    @property
    def facts(self) -> dict[str, Any]:
        """Arguments that models take from the data where a config leaves them out (`in_channels`, ...)."""
        raise NotImplementedError

    def objective(self) -> Objective:
        """The supervised objective where a config names none."""
        raise NotImplementedError

    def train_loader(
        self, config: Mapping[str, Any] | None, where: str, seed: int, rank: int, world_size: int
    ) -> DataLoader:
        """Batches for training; labels of anything but training elements are not in them."""
        raise NotImplementedError

    def eval_loader(self, split: str) -> DataLoader | None:
        """Batches to evaluate on: `split` is "val" or "test"; no label of the other one is in them.

        None for "val" where nothing is validated on.
        """
        raise NotImplementedError

    def metrics(self) -> list[Any]:
        """The metrics of the evaluation."""
        raise NotImplementedError

    def observed_batches(self) -> Iterator[Any]:
        """The whole of what a teacher may see, in batches, for its stored outputs."""
        raise NotImplementedError

    @property
    def observed_graph(self) -> Any:
        """`n_id` and `edge_index` of everything observed, for the record of the stored outputs."""
        raise NotImplementedError

    def stage_teacher(self, stage: FinishedStage) -> Teacher:
        """How a finished stage teaches a later one: by its stored outputs, one row an element."""
        structure, adapter = stage.outputs(), stage.build_adapter()
        if "input" in adapter.provides:
            # Distillers that run the teacher on other features get the live model back beside its outputs.
            batches = list(self.observed_batches())
            if len(batches) != 1:
                raise ConfigError("A teacher that is run on other features needs the observed graph in one batch.")
            with torch.no_grad():
                live = adapter(stage.load_model(), batches[0])
            structure["input"], structure["replay"] = live["input"], live["replay"]
        return StoredTeacher(structure)

    def file_teacher(self, path: str, keys: Mapping[str, str]) -> Teacher:
        """A teacher whose outputs lie in a file: `keys` are field -> array, one row a node of the whole graph."""
        raise ConfigError(f"A file holds a teacher's outputs by node, which {type(self).__name__} cannot use.")

    def example(self) -> Any:
        """A small batch a model can be run, exported and timed on."""
        raise NotImplementedError

    def export_inputs(self, model: nn.Module, adapter: Any) -> tuple[Tensor, ...]:
        """Tensors that a model can be called with, for its export.

        Raises:
            ConfigError: a model that is called with something else.
        """
        example = self.example()
        inputs = tuple(example[name] for name in adapter.inputs)
        if not all(isinstance(tensor, Tensor) for tensor in inputs):
            raise ConfigError(f"The model is called with {', '.join(adapter.inputs)}; only tensors can be exported.")
        return inputs

    def costs(self, model: nn.Module, adapter: Any) -> dict[str, Any]:
        """What a trained model costs: `latency_ms`, and `macs` where they are counted."""
        return {"latency_ms": self.latency(model, adapter)}

    def latency(self, model: Any, adapter: Any) -> dict[str, Any]:
        """Milliseconds for a few batch sizes, `{"128": {"fetch": ..., "compute": ...}}`; empty when not measured."""
        return {}


def named_protocol(protocol: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name of a split protocol and its options."""
    options = dict(protocol)
    if "name" not in options:
        raise ConfigError(f"data.protocol has no 'name'; it has {', '.join(sorted(options)) or 'nothing'}.")
    return options.pop("name"), options


def build_loader(config: Mapping[str, Any], where: str, **defaults: Any) -> DataLoader:
    """A training loader from its config; `defaults` (the data, seed, rank) go to those that take them."""
    loader = build(DATASETS, config, where, **defaults)
    if not hasattr(loader.dataset, "metainfo"):
        loader.dataset.metainfo = {}  # mmengine looks for it
    return loader


class _Batches(Dataset[Any]):
    """Ready-made batches, with the metadata attribute that mmengine looks for."""

    metainfo: ClassVar[dict[str, Any]] = {}

    def __init__(self, batches: Sequence[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        return self.batches[index]


def fixed_batches(batches: Sequence[Any]) -> DataLoader:
    """A loader that gives ready-made batches in order, and draws nothing from the global random generator."""
    return DataLoader(_Batches(batches), batch_size=None, collate_fn=_itself, generator=torch.Generator())


def _itself(batch: Any) -> Any:
    return batch
