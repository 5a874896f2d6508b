"""spconv 2.3.8 on the CPU, mended.

Its CPU build adds up rows in a race between threads (wrong in 4 to 20 of 20 trials with two of them), and its backward
asks for a CUDA stream before it looks at the device; its maximum pooling never gives less than 0. On CPU tensors these
functions are replaced by the products of `structkd.ops.sparse_conv`; CUDA tensors take spconv's own way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmcv_ops.hooks import when_imported
from mmcv_ops.sparse import (
    indice_conv_backward,
    indice_conv_forward,
    indice_maxpool_backward,
    indice_maxpool_forward,
)

#: Names of the arguments that may come by position.
_ARGUMENTS = {
    "indice_conv": ("features", "filters", "indice_pairs", "indice_pair_num", "num_activate_out", "inverse", "subm"),
    "indice_conv_backward": ("features", "filters", "out_bp", "indice_pairs", "indice_pair_num", "inverse", "subm"),
    "indice_maxpool": ("features", "indice_pairs", "indice_pair_num", "num_activate_out"),
    "indice_maxpool_backward": ("features", "out_features", "out_bp", "indice_pairs", "indice_pair_num"),
}


def indice_conv(given: dict[str, Any]) -> Tensor:
    """[V', Cout] from filters [Cout, kz, ky, kx, Cin] and pairs [2, K, V], as spconv 2 has them."""
    if "act_type" in given and "None" not in str(given["act_type"]):
        raise NotImplementedError(f"spconv with the fused activation {given['act_type']} on the CPU.")
    rows, inverse, bias = given["num_activate_out"], given.get("inverse", False), given.get("bias")
    pairs, count = _all_pairs(given)
    out = indice_conv_forward(given["features"], _turned(given["filters"]), pairs, count, rows, inverse, False)
    return out if bias is None else out + bias


def indice_conv_gradients(given: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Gradients of the features and, in spconv's layout, of the filters."""
    pairs, count = _all_pairs(given)
    filters, inverse = given["filters"], given.get("inverse", False)
    grad_x, grad = indice_conv_backward(
        given["features"], _turned(filters), given["out_bp"], pairs, count, inverse, False
    )
    return grad_x, grad.permute(-1, *range(filters.dim() - 1)).contiguous()


def indice_maxpool(given: dict[str, Any]) -> Tensor:
    """[V', C] largest features."""
    return indice_maxpool_forward(given["features"], *_all_pairs(given), given["num_activate_out"])


def indice_maxpool_gradients(given: dict[str, Any]) -> Tensor:
    """[V, C] gradients of the features."""
    return indice_maxpool_backward(given["features"], given["out_features"], given["out_bp"], *_all_pairs(given))


_ON_CPU: dict[str, Callable[[dict[str, Any]], Any]] = {
    "indice_conv": indice_conv,
    "indice_conv_backward": indice_conv_gradients,
    "indice_maxpool": indice_maxpool,
    "indice_maxpool_backward": indice_maxpool_gradients,
}


def _mend(module: Any) -> None:
    for name, mended in _ON_CPU.items():
        setattr(module, name, _by_device(getattr(module, name), mended, _ARGUMENTS[name]))


def _by_device(
    own: Callable[..., Any], mended: Callable[[dict[str, Any]], Any], names: tuple[str, ...]
) -> Callable[..., Any]:
    @functools.wraps(own)
    def run(*args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(names, args)), **kwargs}
        return own(*args, **kwargs) if given["features"].is_cuda else mended(given)

    return run


def _turned(filters: Tensor) -> Tensor:
    """[kz, ky, kx, Cin, Cout] from spconv's [Cout, kz, ky, kx, Cin]."""
    return filters.permute(*range(1, filters.dim()), 0)


def _all_pairs(given: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The table [K, 2, V] of all pairs, and how many there are.

    For submanifold convolutions spconv's lacks the middle offset, which joins every row with itself, and the second
    half of the offsets, which mirrors the first.
    """
    pairs, count = given["indice_pairs"].transpose(0, 1), given["indice_pair_num"]
    if not given.get("subm", False):
        return pairs, count
    last, rows = pairs.size(0) - 1, given["features"].size(0)
    pairs, count = pairs.clone(), count.clone()
    pairs[last // 2, :, :rows] = torch.arange(rows, dtype=pairs.dtype, device=pairs.device)
    count[last // 2] = rows
    for k in range(last // 2):
        own = int(count[k])
        pairs[last - k, :, :own] = pairs[k, :, :own].flip(0)
        count[last - k] = own
    return pairs, count


def mend_spconv() -> None:
    """Arrange for it, whenever spconv is imported."""
    when_imported("spconv.pytorch.ops", _mend)
