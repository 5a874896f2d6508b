"""Models as chains of steps: what runs one after another, and which weights each step owns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Step:
    """One link of a chain.

    Attributes:
        name: unique in its chain, in the form of a module path ("embed", "blocks.3").
        run: (model, x) -> x. It reads of the model nothing but what the step owns.
        owns: paths of the submodules, parameters and buffers that the step uses.
    """

    name: str
    run: Callable[[Any, Tensor], Tensor]
    owns: tuple[str, ...]


def module_step(path: str) -> Step:
    """The step that calls the submodule at `path`."""
    return Step(path, partial(_call, path), (path,))


def module_steps(model: nn.Module, paths: Iterable[str]) -> list[Step]:
    """A step for each of the submodules at `paths`; a `Sequential` or `ModuleList` gives one for each of its parts."""
    steps = []
    for path in paths:
        part = model.get_submodule(path)
        inner = [f"{path}.{name}" for name, _ in part.named_children()]
        # A subclass may do more in its forward pass than to call its children.
        steps += module_steps(model, inner) if type(part) in (nn.Sequential, nn.ModuleList) else [module_step(path)]
    return steps


def within(path: str, steps: Iterable[Step]) -> list[Step]:
    """The steps of the submodule at `path` as steps of the model around it."""
    return [
        Step(f"{path}.{step.name}", partial(_within, path, step.run), tuple(f"{path}.{name}" for name in step.owns))
        for step in steps
    ]


def chain_of(model: nn.Module) -> list[Step]:
    """The steps whose composition is the model's forward pass.

    What the model itself says (`chain()`, as all of ours do); of timm's vision transformers what their `forward` does;
    of any other model its children in their order. Whether that is what the model computes is for `ModularView` to
    see, which runs both.
    """
    chain = getattr(model, "chain", None)
    if callable(chain) and not isinstance(chain, nn.Module):
        return list(chain())
    if all(hasattr(model, name) for name in ("patch_embed", "_pos_embed", "blocks", "norm", "forward_head")):
        return _timm_vit(model)
    return module_steps(model, [name for name, _ in model.named_children()])


def _call(path: str, model: nn.Module, x: Tensor) -> Tensor:
    module = model.get_submodule(path)
    if isinstance(module, nn.Linear) and x.dim() == 4 and x.shape[2:] == (1, 1):
        x = x.flatten(1)  # what torchvision's networks do between their pooling and their classifier
    return module(x)


def _within(path: str, run: Callable[[Any, Tensor], Tensor], model: nn.Module, x: Tensor) -> Tensor:
    return run(model.get_submodule(path), x)


def _timm_vit(model: nn.Module) -> list[Step]:
    """timm's `VisionTransformer`: `forward_features` and `forward_head`, whose names are stable over its versions."""
    children = [name for name, _ in model.named_children()]
    first = ("patch_embed", "pos_drop", "patch_drop")
    own = [name for name, _ in (*model.named_parameters(recurse=False), *model.named_buffers(recurse=False))]
    blocks, last = children.index("blocks"), children.index("norm")
    return [
        Step("embed", _timm_embed, (*(name for name in first if name in children), *own)),
        *module_steps(model, [name for name in children[:blocks] if name not in first]),
        *module_steps(model, children[blocks : last + 1]),
        Step("head", lambda net, x: net.forward_head(x), tuple(children[last + 1 :])),
    ]


def _timm_embed(model: Any, images: Tensor) -> Tensor:
    x = model._pos_embed(model.patch_embed(images))
    dropped = getattr(model, "patch_drop", None)
    return x if dropped is None else dropped(x)
