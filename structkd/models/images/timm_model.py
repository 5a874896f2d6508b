"""Models of timm and of torchvision, where those packages are installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from structkd.backends import import_timm, import_torchvision
from structkd.errors import ConfigError, nearest, reason
from structkd.models.chain import Step, chain_of, module_step, within
from structkd.models.images.base import Feature, ImageModel
from structkd.models.images.inputs import ImageInput


class TimmModel(ImageModel):
    """A classifier of timm, by name.

    Args:
        name: as `timm.create_model` takes it, such as "resnet18" or "vit_tiny_patch16_224".
        out_channels: classes. Another number than the weights were trained for gives a new, untrained classifier.
        pretrained: load timm's weights, which it downloads (or finds in its cache).
        checkpoint: file of weights to load instead.
        in_channels: colours of the image.
        pixel_mean, pixel_std: what the images were normalised with; they are turned into what the weights want.
            Default: the images are as wanted.
        resize: pixels that images are resized to, one number or (H, W); default: as they come.
        options: further arguments of the model, such as `{"img_size": 32, "patch_size": 4}`.

    Taps: submodules of the timm model behind `model.`; `feature_info()` lists the ones that timm names for features,
    with channels and stride ("model.layer3", "model.blocks.11"). ViTs tell the number of their prefix tokens and
    whether a class token is among them, and networks with channels-last maps (Swin) their layout, so `TokenAdapter`
    needs no hint, but for the blocks of CaiT and XCiT (see its `prefix_tokens`).

    Raises:
        ConfigError: timm is not installed, does not know the name, or does not take an option.
    """

    def __init__(
        self,
        name: str,
        out_channels: int,
        pretrained: bool = False,
        checkpoint: str | None = None,
        in_channels: int = 3,
        pixel_mean: Sequence[float] | None = None,
        pixel_std: Sequence[float] | None = None,
        resize: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        timm = import_timm()
        if not timm.is_model(name.split("/")[-1].split(".")[0]):
            raise ConfigError(f"timm {timm.__version__} has no model '{name}'. {nearest(name, timm.list_models())}")
        try:
            self.model = timm.create_model(
                name,
                pretrained=pretrained,
                checkpoint_path=checkpoint or "",
                num_classes=out_channels,
                in_chans=in_channels,
                **(options or {}),
            )
        except (TypeError, ValueError, RuntimeError, AssertionError, OSError) as error:
            raise ConfigError(
                f"timm does not build '{name}' with options={dict(options or {})}: {reason(error)}"
            ) from error
        mean, std = (self.model.pretrained_cfg[key][:in_channels] for key in ("mean", "std"))
        self.input = ImageInput(pixel_mean, pixel_std, mean, std, resize)

    def feature_info(self) -> list[Feature]:
        """Places that timm names for features, without those inside of fused modules."""
        known = dict(self.named_modules())
        found = getattr(self.model, "feature_info", None) or ()
        features = [Feature(f"model.{e['module']}", e["num_chs"], e["reduction"]) for e in found if "module" in e]
        return [feature for feature in features if feature.path in known]

    def chain(self) -> list[Step]:
        return [module_step("input"), *within("model", chain_of(self.model))]

    def forward(self, images: Tensor) -> Tensor:
        return self.model(self.input(images))


class TorchvisionModel(ImageModel):
    """A classifier of torchvision, by name.

    Args:
        name: as `torchvision.models.get_model` takes it, such as "resnet18".
        out_channels: classes.
        weights: name of published weights ("DEFAULT" for the best), which torchvision downloads; they need
            `out_channels` to be what they were trained for.
        pixel_mean, pixel_std, resize: as of `TimmModel`; the weights want the mean and deviation of ImageNet.
        options: further arguments of the model.

    Taps: submodules behind `model.` ("model.layer3").

    Raises:
        ConfigError: torchvision is not installed, does not know the name, or does not take an argument.
    """

    def __init__(
        self,
        name: str,
        out_channels: int,
        weights: str | None = None,
        pixel_mean: Sequence[float] | None = None,
        pixel_std: Sequence[float] | None = None,
        resize: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        models = import_torchvision().models
        if name not in models.list_models():
            raise ConfigError(f"torchvision has no model '{name}'. {nearest(name, models.list_models())}")
        try:
            self.model = models.get_model(name, weights=weights, num_classes=out_channels, **(options or {}))
        except (TypeError, ValueError, KeyError, OSError) as error:
            raise ConfigError(f"torchvision does not build '{name}': {reason(error)}") from error
        self.input = ImageInput(pixel_mean, pixel_std, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), resize)

    def chain(self) -> list[Step]:
        return [module_step("input"), *within("model", chain_of(self.model))]

    def forward(self, images: Tensor) -> Tensor:
        return self.model(self.input(images))
