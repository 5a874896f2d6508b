"""Layers on sparse cells: a tensor that knows its cells, and convolutions that share their rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from structkd.errors import ConfigError, DataError
from structkd.models.points.layers import norm_rows
from structkd.ops.pillar_scatter import scatter_to_grid
from structkd.ops.sparse_conv import Rules, Triple, sparse_conv, strided_rules, submanifold_rules


@dataclass
class SparseTensor:
    """Features of the cells that hold something.

    Attributes:
        x: [V, C] features.
        coords: [V, 4] int64 scene, z, y, x; each cell once, ascending (as in `structkd.ops.Voxels`).
        grid: D, H, W.
        num_scenes: B.
        rules: rules by indice key; one dictionary for all tensors that come of one another.
    """

    x: Tensor
    coords: Tensor
    grid: Triple
    num_scenes: int
    rules: dict[str, Rules] = field(default_factory=dict)

    def with_x(self, x: Tensor) -> SparseTensor:
        """The same cells with other features [V, C']."""
        return replace(self, x=x)

    def dense(self) -> Tensor:
        """[B, C, D, H, W], zero where there is no cell."""
        return self.bev().unflatten(1, (self.x.size(1), self.grid[0]))

    def bev(self) -> Tensor:
        """[B, C*D, H, W]: the heights as channels c*D + z."""
        return scatter_to_grid(self.x, self.coords, self.num_scenes, self.grid)


class _SparseConv(nn.Module):
    """What the three convolutions share: `weight` [kz, ky, kx, Cin, Cout] and `bias` [Cout]."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | Sequence[int], bias: bool, indice_key: str | None
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel = _triple(kernel_size)
        self.indice_key = indice_key
        self.weight = nn.Parameter(torch.empty(*self.kernel, in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform within 1 / sqrt(fan in), as torch's own convolutions."""
        bound = 1 / math.sqrt(math.prod(self.kernel) * self.in_channels)
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def rules_for(self, tensor: SparseTensor) -> Rules:
        raise NotImplementedError

    def forward(self, tensor: SparseTensor) -> SparseTensor:
        rules = self.rules_for(tensor)
        x = sparse_conv(tensor.x, self.weight, rules)
        if self.bias is not None:
            x = x + self.bias
        return replace(tensor, x=x, coords=rules.out_coords, grid=rules.out_grid)

    def _cached(self, tensor: SparseTensor, stride: Triple, padding: Triple) -> Rules | None:
        """The rules under this layer's key, if they are there; a `ConfigError` if they are another layer's kind."""
        rules = None if self.indice_key is None else tensor.rules.get(self.indice_key)
        if rules is None:
            return None
        mine = (self.kernel, stride, padding)
        if rules.in_coords is not tensor.coords or (rules.kernel, rules.stride, rules.padding) != mine:
            raise ConfigError(
                f"indice_key '{self.indice_key}' holds rules for kernel {rules.kernel}, stride {rules.stride} and "
                f"padding {rules.padding} on {rules.in_coords.size(0)} cells; this layer has {mine} on "
                f"{tensor.coords.size(0)} cells. Give it a key of its own."
            )
        return rules

    def _keep(self, tensor: SparseTensor, rules: Rules) -> Rules:
        if self.indice_key is not None:
            tensor.rules[self.indice_key] = rules
        return rules

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel={self.kernel}, indice_key={self.indice_key!r}"


class SubMConv3d(_SparseConv):
    """Submanifold convolution: output cells are the input cells.

    Args:
        in_channels, out_channels: Cin, Cout.
        kernel_size: kz, ky, kx or one for all; odd.
        bias: whether there is one.
        indice_key: layers with the same key on the same cells find their rules once. Default: no sharing.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        bias: bool = False,
        indice_key: str | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, bias, indice_key)
        self.padding: Triple = (self.kernel[0] // 2, self.kernel[1] // 2, self.kernel[2] // 2)

    def rules_for(self, tensor: SparseTensor) -> Rules:
        if (rules := self._cached(tensor, (1, 1, 1), self.padding)) is None:
            rules = submanifold_rules(tensor.coords, tensor.grid, tensor.num_scenes, self.kernel)
        return self._keep(tensor, rules)


class SparseConv3d(_SparseConv):
    """Convolution whose output cells are all that an input cell reaches.

    Args:
        in_channels, out_channels: Cin, Cout.
        kernel_size, stride, padding: along z, y, x or one for all.
        bias: whether there is one; cells that nothing reaches stay zero.
        indice_key: name under which a `SparseInverseConv3d` finds the rules.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        bias: bool = False,
        indice_key: str | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, bias, indice_key)
        self.stride, self.padding = _triple(stride), _triple(padding)

    def rules_for(self, tensor: SparseTensor) -> Rules:
        if (rules := self._cached(tensor, self.stride, self.padding)) is None:
            rules = strided_rules(tensor.coords, tensor.grid, tensor.num_scenes, self.kernel, self.stride, self.padding)
        return self._keep(tensor, rules)


class SparseInverseConv3d(_SparseConv):
    """Transposed convolution back onto the cells a `SparseConv3d` started from.

    Args:
        in_channels, out_channels: Cin, Cout.
        kernel_size: that of the other layer.
        indice_key: that of the other layer, which must have run before.
        bias: whether there is one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        indice_key: str,
        bias: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, bias, indice_key)

    def rules_for(self, tensor: SparseTensor) -> Rules:
        rules = tensor.rules.get(str(self.indice_key))
        if rules is None or rules.out_coords is not tensor.coords or rules.kernel != self.kernel:
            known = f"; there are {sorted(tensor.rules)}" if rules is None else " with this kernel onto these cells"
            raise ConfigError(f"SparseInverseConv3d: no layer has left rules under '{self.indice_key}'{known}.")
        return rules.inverse()


class SparseSequential(nn.Sequential):
    """Modules in a row: sparse ones get the tensor, all others (BatchNorm1d, ReLU, Linear) its features.

    Fewer than two cells, as of scans without points, are normalised with the running statistics (see `norm_rows`).
    """

    def forward(self, tensor: SparseTensor) -> SparseTensor:
        for module in self:
            if isinstance(module, (_SparseConv, SparseSequential)):
                tensor = module(tensor)
            elif isinstance(module, nn.BatchNorm1d):
                tensor = tensor.with_x(norm_rows(module, tensor.x))
            else:
                tensor = tensor.with_x(module(tensor.x))
        return tensor


def spconv2_to_spconv1(weight: Tensor) -> Tensor:
    """[out, kz, ky, kx, in] (spconv 2) as [kz, ky, kx, in, out] (spconv 1, mmcv and the layers here)."""
    return weight.permute(1, 2, 3, 4, 0).contiguous()


def spconv1_to_spconv2(weight: Tensor) -> Tensor:
    """[kz, ky, kx, in, out] as [out, kz, ky, kx, in]; the inverse of `spconv2_to_spconv1`."""
    return weight.permute(4, 0, 1, 2, 3).contiguous()


def weight_layout(shape: Sequence[int], in_channels: int, out_channels: int, kernel_size: int | Sequence[int]) -> str:
    """Which layout a checkpoint's weight of this shape has: "spconv1" or "spconv2".

    Raises:
        DataError: the shape is neither's, or (all five sizes are equal) both's.
    """
    kernel = _triple(kernel_size)
    first, second = (*kernel, in_channels, out_channels), (out_channels, *kernel, in_channels)
    fits = [name for name, of in (("spconv1", first), ("spconv2", second)) if tuple(shape) == of]
    if len(fits) != 1:
        problem = "fits both layouts; say which it is" if fits else "fits neither layout"
        raise DataError(
            f"A weight of shape {tuple(shape)} for {in_channels} -> {out_channels} channels and kernel {kernel} "
            f"{problem}: {first} for spconv 1 and mmcv, {second} for spconv 2."
        )
    return fits[0]


def convert_weight(weight: Tensor, layer: _SparseConv) -> Tensor:
    """A checkpoint's weight in either layout as the `weight` of `layer`; errors as `weight_layout`."""
    layout = weight_layout(weight.shape, layer.in_channels, layer.out_channels, layer.kernel)
    return weight if layout == "spconv1" else spconv2_to_spconv1(weight)


def _triple(size: int | Sequence[int]) -> Triple:
    if isinstance(size, int):
        return (size, size, size)
    if len(size) != 3:
        raise ConfigError(f"Got {tuple(size)}; expected one size or three, along z, y, x.")
    return (size[0], size[1], size[2])
