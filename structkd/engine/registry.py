"""Registries filled from the packages' public names, so that no part carries a framework decorator."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mmengine.registry import DATASETS as MM_DATASETS
from mmengine.registry import HOOKS as MM_HOOKS
from mmengine.registry import METRICS as MM_METRICS
from mmengine.registry import MODELS as MM_MODELS
from mmengine.registry import Registry

from structkd.errors import ConfigError, StructkdError, located, nearest, reason

SCOPE = "structkd"


def make_registry(name: str, parent: Registry | None, *packages: str) -> Registry:
    """A registry that holds the public names (`__all__`) of `packages`."""
    registry = Registry(name, parent=parent, scope=SCOPE, locations=["structkd.engine"])
    for package in packages:
        module = importlib.import_module(package)
        for public in getattr(module, "__all__", ()):
            part = getattr(module, public)
            if callable(part):
                registry.register_module(name=public, module=part, force=True)
    return registry


MODELS = make_registry("model", MM_MODELS, "structkd.models")
ADAPTERS = make_registry("adapter", None, "structkd.adapters")
DISTILLERS = make_registry("distiller", None, "structkd.distillers")
DATASETS = make_registry("dataset", MM_DATASETS, "structkd.datasets")
HOOKS = make_registry("hook", MM_HOOKS, "structkd.engine.hooks", "structkd.engine.routing_hook")
METRICS = make_registry("metric", MM_METRICS, "structkd.engine.metrics", "structkd.engine.detection_metrics")
OBJECTIVES = make_registry("objective", None, "structkd.engine.objectives")


def build(registry: Registry, config: Mapping[str, Any], where: str, **defaults: Any) -> Any:
    """Build `config["type"]` with the config's other keys as arguments.

    Args:
        registry: where the type is looked up.
        config: `type` and arguments; arguments in it win over `defaults`.
        where: the config path, for the error message.
        defaults: arguments that are passed only where the type accepts them (a model's `in_channels`).

    Raises:
        ConfigError: no or unknown `type`, an argument that the type does not know, or one it needs and misses.
        StructkdError: whatever the type itself raises, with `where` in front.
    """
    part = find_part(registry, config, where)
    arguments = {key: value for key, value in config.items() if key != "type"}
    parameters = inspect.signature(part).parameters
    for key, value in defaults.items():
        if key in parameters:
            arguments.setdefault(key, value)
    for key, parameter in parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        )
        if needed and key not in arguments:
            raise ConfigError(f"{where}: {config['type']} needs the argument '{key}', which the config does not give.")
    with building(where):
        return part(**arguments)


def find_part(registry: Registry, config: Mapping[str, Any], where: str) -> Callable[..., Any]:
    """What `config["type"]` names; `ConfigError` where there is no such part or it does not take the arguments."""
    if not isinstance(config, Mapping) or "type" not in config:
        raise ConfigError(f"{where} must be a dict with a 'type', got {config!r}.")
    name = config["type"]
    part = registry.get(name) if isinstance(name, str) else name
    if part is None:
        known = [*registry.module_dict, *(registry.parent.module_dict if registry.parent else ())]
        raise ConfigError(f"{where}.type is '{name}', which is no known {registry.name}. {nearest(name, known)}")
    check_arguments(part, (key for key in config if key != "type"), where)
    return part


@contextmanager
def building(
    where: str, refusals: type[Exception] | tuple[type[Exception], ...] = (TypeError, ValueError)
) -> Iterator[None]:
    """Names `where` in the errors of a constructor; its `refusals` of arguments become `ConfigError`s."""
    try:
        with located(where):
            yield
    except StructkdError:
        raise
    except refusals as error:
        raise ConfigError(f"{where} could not be built: {reason(error)}") from error


def check_arguments(part: Callable[..., Any], arguments: Iterable[str], where: str) -> None:
    """Raise a `ConfigError` for the first of the arguments' names that `part` does not take."""
    parameters = inspect.signature(part).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for key in arguments:
        if key not in parameters:
            raise ConfigError(f"{where}.{key}: {part.__name__} takes no argument '{key}'. {nearest(key, parameters)}")
