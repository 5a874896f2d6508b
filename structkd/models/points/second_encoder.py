"""The sparse 3D network of SECOND."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from structkd.errors import ConfigError
from structkd.models.points.layers import batch_norm_1d
from structkd.models.points.sparse import SparseConv3d, SparseSequential, SparseTensor, SubMConv3d


class SparseEncoder(nn.Module):
    """Sparse convolutions that halve the resolution stage by stage, and at last squeeze the heights.

    A submanifold layer; then stages, each beginning (but for the first) with a convolution of stride 2 that is
    followed by submanifold ones; at last a convolution of 3 cells along z with stride 2. Kernels are 3 x 3 x 3, each
    with batch norm and ReLU.

    Args:
        in_channels: features of a voxel.
        channels: of the layers of each stage.
        out_channels: of the last layer.
        grid: D, H, W of the voxels.

    Shapes: a `SparseTensor` on `grid` -> one on `out_grid`, D' x H / 2^(stages - 1) x W / 2^(stages - 1).

    Errors: `ConfigError` for a grid that the strides do not divide, or too low for them.

    Source: Yan et al., "SECOND", Sensors 2018, section 3.1.2.
    Differences: stages as in the KITTI config of mmdet3d 1.4, whose third halving has no padding along z.
    """

    def __init__(
        self, in_channels: int, channels: Sequence[Sequence[int]], out_channels: int, grid: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.out_grid = _out_grid(grid, len(channels))
        before = channels[0][0]
        self.conv_input = _layer(SubMConv3d(in_channels, before, 3, indice_key="subm1"))
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        for stage, counts in enumerate(channels, start=1):
            layers = []
            for position, after in enumerate(counts):
                conv: SubMConv3d | SparseConv3d
                if stage > 1 and position == 0:
                    padding = (0, 1, 1) if stage == len(channels) else (1, 1, 1)
                    conv = SparseConv3d(before, after, 3, stride=2, padding=padding, indice_key=f"spconv{stage}")
                else:
                    conv = SubMConv3d(before, after, 3, indice_key=f"subm{stage}")
                layers.append(_layer(conv))
                before = after
            stages[f"encoder_layer{stage}"] = SparseSequential(*layers)
        self.encoder_layers = SparseSequential(stages)
        self.conv_out = _layer(
            SparseConv3d(before, out_channels, (3, 1, 1), stride=(2, 1, 1), indice_key="spconv_down2")
        )

    def forward(self, tensor: SparseTensor) -> SparseTensor:
        return self.conv_out(self.encoder_layers(self.conv_input(tensor)))


def _layer(conv: SubMConv3d | SparseConv3d) -> SparseSequential:
    return SparseSequential(conv, batch_norm_1d(conv.out_channels), nn.ReLU())


def _out_grid(grid: tuple[int, int, int], stages: int) -> tuple[int, int, int]:
    """D, H, W behind `stages` - 1 halvings and the last layer."""
    depth, height, width = grid
    factor = 2 ** (stages - 1)
    if height % factor or width % factor:
        raise ConfigError(
            f"The voxels are {height} x {width} cells (y, x), not divisible by {factor}, the sparse encoder's stride."
        )
    for stage in range(2, stages + 1):
        depth = (depth + (0 if stage == stages else 2) - 3) // 2 + 1
    depth = (depth - 3) // 2 + 1
    if depth < 1:
        raise ConfigError(f"{grid[0]} layers of voxels are too few for {stages} stages of the sparse encoder.")
    return depth, height // factor, width // factor
