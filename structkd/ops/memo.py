"""A cache of what was computed from a tensor, gone with the tensor and void once it changes."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary


class TensorMemo:
    """Remembers `build(tensor, *key)` for as long as `tensor` lives and is not modified.

    The tensor is known by identity and held weakly, so an equal tensor is another one. Any in-place
    operation, also through a view, advances the version torch keeps for autograd and voids the entry; writes
    that torch does not see (a NumPy array that shares the memory, `tensor.data`) are the caller's to avoid.
    Tensors created in inference mode carry no version and are never remembered.

    Args:
        build: the computation; its result must not hold the tensor object itself.
    """

    def __init__(self, build: Callable[..., Any]) -> None:
        self.build = build
        self.entries: WeakTensorKeyDictionary = WeakTensorKeyDictionary()

    def __call__(self, tensor: Tensor, *key: Hashable) -> Any:
        # A result built in inference mode could not be saved for a later backward pass.
        with torch.inference_mode(False):
            if tensor.is_inference():
                return self.build(tensor, *key)
            stamp = _stamp(tensor)
            known, results = self.entries.get(tensor, (None, None))
            if known != stamp:
                results = {}
                self.entries[tensor] = (stamp, results)
            if key not in results:
                results[key] = self.build(tensor, *key)
            return results[key]


def _stamp(tensor: Tensor) -> tuple:
    data = tensor.values() if tensor.layout == torch.sparse_csr else tensor
    return tensor._version, data.data_ptr(), tuple(tensor.shape)
