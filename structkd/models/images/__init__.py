"""Teachers and students for images."""

from structkd.models.images.base import ImageModel
from structkd.models.images.conv_net import ConvNet
from structkd.models.images.efficientnet_lite import EfficientNetLite
from structkd.models.images.mobilenet_v2 import MobileNetV2
from structkd.models.images.resnet import ResNet
from structkd.models.images.shufflenet_v1 import ShuffleNetV1
from structkd.models.images.shufflenet_v2 import ShuffleNetV2
from structkd.models.images.timm_model import TimmModel, TorchvisionModel
from structkd.models.images.vgg import VGG
from structkd.models.images.vit import ViT
from structkd.models.images.wide_resnet import WideResNet

__all__ = [
    "VGG",
    "ConvNet",
    "EfficientNetLite",
    "ImageModel",
    "MobileNetV2",
    "ResNet",
    "ShuffleNetV1",
    "ShuffleNetV2",
    "TimmModel",
    "TorchvisionModel",
    "ViT",
    "WideResNet",
]
