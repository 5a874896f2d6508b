"""ModularView: a sequential network as modules, cut at named places."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from structkd.errors import ConfigError, WiringError, nearest, reason
from structkd.models.chain import Step, chain_of


class Boundary(NamedTuple):
    """What passes from one module to the next.

    Attributes:
        shape: without the batch: (N, C) of tokens, (C, h, w) of a map, (C,) of a vector.
        channels_last: whether the map is (h, w, C).
    """

    shape: tuple[int, ...]
    channels_last: bool = False

    @property
    def is_map(self) -> bool:
        return len(self.shape) == 3

    @property
    def channels(self) -> int:
        return self.shape[0] if self.is_map and not self.channels_last else self.shape[-1]


class ModularView:
    """A classifier as a chain of modules, without a change to it.

    The chain is `chain_of(model)`: the steps that the model itself names, those of timm's vision transformers, or the
    children in their order. Building the view runs the model and the composed steps on a few numbers and compares the
    logits bit for bit, in eval mode and (copies of it, from one seed) in training mode, so a network that is no chain,
    or does something between its children, is an error at once.

    Args:
        model: any classifier of images; it stays as it is.
        splits: names of the steps that modules begin with, in order, such as ("blocks.3", "blocks.6"); a name may also
            be that of a container ("layer2" for "layer2.0"). One more module than splits. What comes before the first
            block (patch and position embeddings, a stem) belongs to the first module, what comes after the last
            (norm, pooling, classifier) to the last.
        in_channels, image_size: of the images that the model is tried on, whose boundaries are recorded.

    Attributes:
        model, steps: the model and its chain.
        boundaries: [modules - 1] what passes between them.
        classes: logits that come out.

    Raises:
        ConfigError: a split that names no step, or splits out of order.
        WiringError: the composed steps do not give the model's logits; weights that no step owns, or several modules.
    """

    def __init__(
        self, model: nn.Module, splits: Sequence[str], in_channels: int = 3, image_size: int | Sequence[int] = 32
    ) -> None:
        self.model, self.steps = model, chain_of(model)
        names = [step.name for step in self.steps]
        starts = [0, *(_place(split, names, type(model).__name__) for split in splits), len(names)]
        if any(a >= b for a, b in itertools.pairwise(starts)):
            raise ConfigError(
                f"splits={list(splits)} of {type(model).__name__} are out of order, or leave a module empty."
            )
        self._starts = starts
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        images = torch.linspace(-2, 2, in_channels * height * width, device=device).view(1, in_channels, height, width)
        *self.boundaries, outputs = self._tried(images)
        self.classes = outputs.channels
        self._check_owners()
        self._check_training(images)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def stage_steps(self, start: int, stop: int) -> list[Step]:
        """The steps of modules `start` to `stop` - 1."""
        return self.steps[self._starts[start] : self._starts[stop]]

    def forward_range(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """What modules `start` to `stop` - 1 make of what enters the first of them (images, where `start` is 0)."""
        return run_steps(self.model, self.stage_steps(start, len(self) if stop is None else stop), x)

    def part(self, start: int, stop: int) -> nn.Module:
        """The model with the submodules, parameters and buffers of modules `start` to `stop` - 1 and no others.

        They are the model's own, under its own names: a state dict of the part is a part of the model's state dict.
        `run_steps(part, view.stage_steps(start, stop), x)` runs it.
        """
        return pruned(self.model, {name for step in self.stage_steps(start, stop) for name in step.owns})

    @torch.no_grad()
    def _tried(self, images: Tensor) -> list[Boundary]:
        training = {module: module.training for module in self.model.modules()}
        self.model.eval()
        try:
            expected = logits_of(self.model(images))
            found, x = [], images
            for i in range(len(self)):
                try:
                    x = self.forward_range(x, i, i + 1)
                except Exception as error:  # whatever a layer raises on what it was not made for
                    raise WiringError(
                        f"{self._label} is no chain of its steps, module {i} fails: {reason(error)}"
                    ) from error
                found.append(Boundary(tuple(x.shape[1:]), x.dim() == 4 and _channels_last(self.model)))
        finally:
            for module, mode in training.items():
                module.training = mode
        self._compare(x, expected, "")
        return found

    @torch.no_grad()
    def _check_training(self, images: Tensor) -> None:
        """Dropout, and whatever else a model does in training only, must be in the steps too."""
        pair, drawn = images.expand(2, -1, -1, -1), []  # batch norm needs more than one number a channel
        with torch.random.fork_rng(devices=[]):
            for run in (lambda model: logits_of(model(pair)), lambda model: run_steps(model, self.steps, pair)):
                torch.manual_seed(0)
                drawn.append(run(copy.deepcopy(self.model).train()))
        self._compare(drawn[1], drawn[0], " in training mode")

    def _compare(self, found: Tensor, expected: Tensor, when: str) -> None:
        if found.shape != expected.shape or not torch.equal(found, expected):
            raise WiringError(
                f"{self._label}: the steps {', '.join(step.name for step in self.steps)} one after another do not give "
                f"the model's logits{when}. Give the model a method chain() that names what its forward pass does."
            )

    def _check_owners(self) -> None:
        owners = [name for step in self.steps for name in step.owns]
        tensors = [name for name, _ in (*self.model.named_parameters(), *self.model.named_buffers())]
        for name in tensors:
            if not any(_covers(owner, name) for owner in owners):
                raise WiringError(f"{self._label}: no step owns '{name}', so no module would hold it.")
        names: dict[int, list[str]] = {}  # a weight may stand at several places
        kept = self.model.state_dict(keep_vars=True)
        for name, tensor in kept.items():
            names.setdefault(id(tensor), []).append(name)
        for same in names.values():
            holders = {i for i in range(len(self)) for name in same if self._holds(i, name)}
            if len(holders) > 1:
                raise WiringError(
                    f"{self._label}: '{same[0]}' belongs to the modules {sorted(holders)}; expected one, so that each "
                    "can be trained by itself."
                )

    def _holds(self, module: int, name: str) -> bool:
        return any(_covers(owner, name) for step in self.stage_steps(module, module + 1) for owner in step.owns)

    @property
    def _label(self) -> str:
        return type(self.model).__name__


def run_steps(model: nn.Module, steps: Sequence[Step], x: Tensor) -> Tensor:
    """The steps one after another, on a model that holds (at least) what they own."""
    for step in steps:
        x = step.run(model, x)
    return x


def logits_of(returned: Any) -> Tensor:
    """The logits of what a model returns: themselves, or the dict that holds them."""
    return returned if isinstance(returned, Tensor) else returned["logits"]


def pruned(model: nn.Module, keep: Collection[str]) -> nn.Module:
    """A model that holds of `model` what `keep` names, itself and not a copy of it, and nothing else.

    Args:
        keep: paths of submodules, parameters and buffers.
    """
    shell = copy.copy(model)
    for kind in ("_modules", "_parameters", "_buffers"):
        kept = {}
        for name, value in getattr(model, kind).items():
            inner = [path[len(name) + 1 :] for path in keep if path.startswith(f"{name}.")]
            if name in keep:
                kept[name] = value
            elif kind == "_modules" and inner:
                kept[name] = pruned(value, inner)
        shell.__dict__[kind] = kept
    return shell


def _channels_last(model: nn.Module) -> bool:
    """Whether the maps of a timm model (or of one that wraps it) are [B, h, w, C]: the Swin family's are."""
    return any(getattr(part, "output_fmt", None) == "NHWC" for part in (model, *model.children()))


def _place(split: str, names: Sequence[str], model: str) -> int:
    for place, name in enumerate(names):
        if _covers(split, name):
            return place
    raise ConfigError(f"There is no step '{split}' in the chain of {model}. {nearest(split, names)}")


def _covers(path: str, name: str) -> bool:
    return name == path or name.startswith(f"{path}.")
