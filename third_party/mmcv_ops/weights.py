"""Weights of sparse convolutions in both layouts.

mmcv's layers hold [kz, ky, kx, Cin, Cout], those of spconv 2 [Cout, kz, ky, kx, Cin]. mmdet3d converts from the first
to the second where spconv is installed; without it a checkpoint that was trained on spconv 2 would be refused, as most
of the recent ones are.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmcv_ops.hooks import when_imported

#: What mmdet3d notes in checkpoints of spconv 2.
SPCONV2 = 2


def to_mmcv(weight: Tensor, shape: tuple[int, ...], noted: int | None) -> Tensor:
    """`weight` in mmcv's layout, whose shape is `shape`; where the two layouts look alike `noted` decides."""
    other = (shape[-1], *shape[:-1])
    if tuple(weight.shape) != other or (other == shape and noted != SPCONV2):
        return weight
    return weight.permute(*range(1, weight.dim()), 0)


def _accept(module: Any) -> None:
    layer = module.SparseConvolution
    load = layer._load_from_state_dict

    def load_either(self: Any, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        key = f"{prefix}weight"
        if key in state_dict:
            state_dict[key] = to_mmcv(state_dict[key], tuple(self.weight.shape), local_metadata.get("version"))
        load(self, state_dict, prefix, local_metadata, *rest)

    layer._load_from_state_dict = load_either


def accept_both_layouts() -> None:
    """Arrange for it, whenever mmcv's sparse convolutions are imported."""
    when_imported("mmcv.ops.sparse_conv", _accept)
