"""What every image classifier of this library shares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor, nn

from structkd.models.chain import Step, module_steps


class Feature(NamedTuple):
    """A place of a model that is worth tapping.

    Attributes:
        path: of the submodule, as in `named_modules()` and as `TokenAdapter` takes it.
        channels: C of its output.
        stride: pixels of the image to a cell of the map, each way; 0 for a vector [B, C].
    """

    path: str
    channels: int
    stride: int


class ImageModel(nn.Module):
    """A classifier of images.

    Shapes: images [B, in_channels, H, W] -> logits [B, out_channels].

    Convolutional families name their stages `layer1`, `layer2`, ... (maps [B, C, h, w]), and all families have `pool`
    (the vector [B, C] that the classifier reads).
    """

    _features: tuple[Feature, ...] = ()
    _stages: tuple[str, ...] = ()

    def feature_info(self) -> list[Feature]:
        """Places to tap, from the image to the classifier."""
        return list(self._features)

    def chain(self) -> list[Step]:
        """The forward pass as steps, one a layer of each stage; their composition gives the same logits."""
        return module_steps(self, [name for name, _ in self.named_children()])

    def _add_stage(self, *layers: nn.Module) -> None:
        """Append the next of `layer1`, `layer2`, ..."""
        self._stages = (*self._stages, f"layer{len(self._stages) + 1}")
        self.add_module(self._stages[-1], nn.Sequential(*layers))

    def _through_stages(self, x: Tensor) -> Tensor:
        for name in self._stages:
            x = getattr(self, name)(x)
        return x

    def _describe(self, maps: Iterable[tuple[str, int, int]], vector: int) -> None:
        """Set the features: (path, channels, stride) of the maps, and the channels of `pool`."""
        self._features = (*(Feature(*entry) for entry in maps), Feature("pool", vector, 0))
