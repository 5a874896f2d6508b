"""A narrower network that starts from a wider one's weights."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TypeVar

import torch
from torch import Tensor, nn

from structkd.errors import ConfigError, WiringError, nearest

Model = TypeVar("Model", bound=nn.Module)


@torch.no_grad()
def narrow_(student: Model, teacher: nn.Module, concatenated: Mapping[str, int] | None = None) -> Model:
    """Copy into each parameter and buffer of a student the leading channels of the teacher's one of that name.

    The teacher-guided initialisation of SparseKD (Yang et al., "Towards Efficient 3D Object Detection with Knowledge
    Distillation", NeurIPS 2022) as its shipped configs have it. Channels are chosen alike everywhere, the first ones,
    so what a layer gives out is what the next one was trained to take in.

    Args:
        student: is changed in place.
        teacher: same parameters and buffers, none smaller in any dimension.
        concatenated: pattern of a parameter's name -> number of equal parts that its input channels (dimension 1) are
            joined from; the leading channels of each part are taken. PointPillars' head reads three joined maps:
            `{"head.*": 3}`. Parameters with one dimension, and those of equal shape, are not concerned.

    Returns:
        `student`.

    Raises:
        WiringError: names or dimensions that do not match, or a dimension in which the teacher is narrower.
        ConfigError: a pattern that matches nothing, or channels that its parts do not divide.

    Differences: the paper's other rules, channels of the largest batch-norm scales or of the largest filters, need to
    know which layer feeds which and are left out.
    """
    own, given = student.state_dict(), teacher.state_dict()
    unmatched = sorted(own.keys() ^ given.keys())
    if unmatched:
        side, other = ("student", given) if unmatched[0] in own else ("teacher", own)
        raise WiringError(
            f"narrow_: student and teacher differ in {len(unmatched)} parameters; only the {side} has "
            f"'{unmatched[0]}'. {nearest(unmatched[0], other)}"
        )
    patterns = dict(concatenated or {})
    for pattern, parts in patterns.items():
        if not any(fnmatchcase(name, pattern) for name in own):
            raise ConfigError(f"narrow_: concatenated names '{pattern}', which matches no parameter.")
        if parts < 1:
            raise ConfigError(f"narrow_: concatenated['{pattern}'] is {parts}; expected 1 or more.")
    chosen = {}
    for name, target in own.items():
        source = given[name]
        if source.dim() != target.dim() or any(wide < thin for wide, thin in zip(source.shape, target.shape)):
            raise WiringError(
                f"narrow_: '{name}' has shape {tuple(target.shape)} in the student and {tuple(source.shape)} in the "
                "teacher; expected as many dimensions and none larger in the student."
            )
        parts = next((parts for pattern, parts in patterns.items() if fnmatchcase(name, pattern)), 1)
        chosen[name] = _leading(name, source, target.shape, parts)
    for name, target in own.items():  # only after all fit: a refused pair leaves the student as it was
        target.copy_(chosen[name])
    return student


def _leading(name: str, source: Tensor, shape: torch.Size, parts: int) -> Tensor:
    for dim, size in enumerate(shape):
        if dim == 1 and parts > 1 and source.size(1) != size:
            if source.size(1) % parts or size % parts:
                raise ConfigError(f"narrow_: {parts} equal parts of '{name}' do not make {source.size(1)} and {size}.")
            source = source.unflatten(1, (parts, -1)).narrow(2, 0, size // parts).flatten(1, 2)
        else:
            source = source.narrow(dim, 0, size)
    return source
