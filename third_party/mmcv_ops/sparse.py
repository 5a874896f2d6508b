"""Sparse convolutions as mmcv's layers call them: tables of pairs, and the products over them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmcv_ops.registry import operator
from structkd.ops.precision import accumulator
from structkd.ops.sparse_conv import Rules, Triple, sparse_conv, strided_rules, submanifold_rules
from structkd.ops.voxels import cell_ids


@operator("get_indice_pairs_3d_forward", "ops.sparse_conv", "new cells ascend; no dilation, no transposed convolution")
def get_indice_pairs_3d_forward(
    indices: Tensor,
    batch_size: int,
    out_shape: Sequence[int],
    spatial_shape: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    out_padding: Sequence[int],
    subm: int,
    transpose: int,
) -> list[Tensor]:
    """Which input row meets which output row at each offset of the kernel.

    Args:
        indices: [V, 4] int32 scene, z, y, x of the cells, in any order.
        batch_size: scenes.
        out_shape, spatial_shape: grid after and before.
        kernel_size, stride, padding: of the convolution; a submanifold one takes the kernel only.
        dilation: 1 in all directions.
        out_padding, transpose: of transposed convolutions, which are not here.
        subm: whether the output cells are the input cells.

    Returns:
        [V', 4] int32 output cells; [K, 2, V] int32 rows (input, output) by offset, -1 behind the last; [K] int32 how
        many there are.
    """
    if transpose or any(size != 1 for size in dilation):
        raise NotImplementedError(
            f"mmcv's operator 'get_indice_pairs_3d_forward' with dilation {list(dilation)}, transpose {transpose}: "
            "mmcv_ops provides plain, strided and submanifold convolutions."
        )
    grid, kernel = _triple(spatial_shape), _triple(kernel_size)
    cells = indices.long()
    order = cell_ids(cells, grid).argsort()
    if subm:
        rules = submanifold_rules(cells[order], grid, batch_size, kernel)
        pairs = [(order[before], order[after]) for before, after in rules.pairs]
        out = indices
    else:
        rules = strided_rules(cells[order], grid, batch_size, kernel, _triple(stride), _triple(padding))
        pairs = [(order[before], after) for before, after in rules.pairs]
        out = rules.out_coords.to(indices.dtype)
    table = indices.new_full((math.prod(kernel), 2, indices.size(0)), -1)
    for offset, (before, after) in zip(table, pairs):
        offset[0, : before.numel()], offset[1, : after.numel()] = before.to(table.dtype), after.to(table.dtype)
    return [out, table, indices.new_tensor([before.numel() for before, _ in pairs])]


@operator("get_indice_pairs_2d_forward", "ops.sparse_conv", "new cells ascend; no dilation, no transposed convolution")
def get_indice_pairs_2d_forward(
    indices: Tensor,
    batch_size: int,
    out_shape: Sequence[int],
    spatial_shape: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    out_padding: Sequence[int],
    subm: int,
    transpose: int,
) -> list[Tensor]:
    """As `get_indice_pairs_3d_forward`, for cells [V, 3] scene, y, x: a grid of one layer."""
    flat = torch.cat([indices[:, :1], torch.zeros_like(indices[:, :1]), indices[:, 1:]], 1)
    out, table, count = get_indice_pairs_3d_forward(
        flat,
        batch_size,
        [1, *out_shape],
        [1, *spatial_shape],
        [1, *kernel_size],
        [1, *stride],
        [0, *padding],
        [1, *dilation],
        [0, *out_padding],
        subm,
        transpose,
    )
    return [out[:, [0, 2, 3]], table, count]


@operator("indice_conv_forward", "ops.sparse_conv")
def indice_conv_forward(
    features: Tensor,
    filters: Tensor,
    indice_pairs: Tensor,
    indice_num: Tensor,
    num_act_out: int,
    inverse: int,
    subm: int,
) -> Tensor:
    """[V', Cout] from features [V, Cin], filters [kz, ky, kx, Cin, Cout] and the pairs of `get_indice_pairs`.

    `inverse` reads the pairs from output to input.
    """
    rules = _rules(filters, indice_pairs, indice_num, features.size(0), num_act_out, inverse, subm)
    return sparse_conv(features, _in_3d(filters), rules)


@operator("fused_indice_conv_forward", "ops.sparse_conv")
def fused_indice_conv_forward(
    features: Tensor,
    filters: Tensor,
    bias: Tensor,
    indice_pairs: Tensor,
    indice_num: Tensor,
    num_act_out: int,
    inverse: int,
    subm: int,
) -> Tensor:
    """`indice_conv_forward` plus a bias [Cout]."""
    return indice_conv_forward(features, filters, indice_pairs, indice_num, num_act_out, inverse, subm) + bias


@operator("indice_conv_backward", "ops.sparse_conv")
def indice_conv_backward(
    features: Tensor,
    filters: Tensor,
    out_grad: Tensor,
    indice_pairs: Tensor,
    indice_num: Tensor,
    inverse: int,
    subm: int,
) -> list[Tensor]:
    """Gradients of the features and of the filters."""
    rules = _rules(filters, indice_pairs, indice_num, features.size(0), out_grad.size(0), inverse, subm)
    dtype = accumulator(features, filters)
    x, weight, grad = features.to(dtype), _in_3d(filters).to(dtype), out_grad.to(dtype)
    grad_x = sparse_conv(grad, weight.transpose(-1, -2), rules.inverse())
    grad_weight = [x[before].t() @ grad[after] for before, after in rules.pairs]
    return [grad_x.to(features.dtype), torch.stack(grad_weight).view(filters.shape).to(filters.dtype)]


@operator("indice_maxpool_forward", differs="the largest feature also where all are negative; the kernel gives 0")
def indice_maxpool_forward(features: Tensor, indice_pairs: Tensor, indice_num: Tensor, num_act: int) -> Tensor:
    """[V', C] largest features [V, C] of the input rows of each output row."""
    out = features.new_full((num_act, features.size(1)), -torch.inf)
    for before, after in _split(indice_pairs, indice_num):
        out[after] = torch.maximum(out[after], features[before])  # no output row occurs twice within an offset
    return out


@operator("indice_maxpool_backward")
def indice_maxpool_backward(
    features: Tensor, out_features: Tensor, out_grad: Tensor, indice_pairs: Tensor, indice_num: Tensor
) -> Tensor:
    """[V, C] gradients of the features; each of several equal maxima gets all of it, as in mmcv."""
    grad = torch.zeros_like(features)
    for before, after in _split(indice_pairs, indice_num):
        grad[before] += torch.where(features[before] == out_features[after], out_grad[after], 0)
    return grad


def _rules(
    filters: Tensor, indice_pairs: Tensor, indice_num: Tensor, rows_in: int, rows_out: int, inverse: int, subm: int
) -> Rules:
    """The pairs as `sparse_conv` takes them; it asks the cells for their number only."""
    pairs = tuple((b, a) if not inverse else (a, b) for b, a in _split(indice_pairs, indice_num))
    cells = [indice_pairs.new_zeros(1, 4).expand(rows, 4) for rows in (rows_in, rows_out)]
    kernel = _triple(_in_3d(filters).shape[:3])
    one, none = (1, 1, 1), (0, 0, 0)
    # The middle offset of a submanifold convolution joins every row with itself.
    identity = len(pairs) // 2 if subm else None
    return Rules(pairs, kernel, cells[0], one, cells[1], one, one, none, identity)


def _split(indice_pairs: Tensor, indice_num: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(pair[0, :count].long(), pair[1, :count].long()) for pair, count in zip(indice_pairs, indice_num.tolist())]


def _in_3d(filters: Tensor) -> Tensor:
    return filters if filters.dim() == 5 else filters.unsqueeze(0)


def _triple(values: Sequence[int]) -> Triple:
    z, y, x = (int(value) for value in values)
    return z, y, x
