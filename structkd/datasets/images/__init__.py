"""Images: readers, splits, augmentations and loaders."""

from structkd.datasets.images.augment import CenterCrop, HorizontalFlip, RandomCrop, RandomResizedCrop
from structkd.datasets.images.batch import Images
from structkd.datasets.images.cifar import cifar_images
from structkd.datasets.images.corruptions import Corrupt
from structkd.datasets.images.digits import digit_images
from structkd.datasets.images.folder import folder_images, tiny_images
from structkd.datasets.images.image_set import ImageSet
from structkd.datasets.images.loader import ImageLoader
from structkd.datasets.images.randaugment import RandAugment
from structkd.datasets.images.splits import image_split
from structkd.datasets.images.views import Views

__all__ = [
    "CenterCrop",
    "Corrupt",
    "HorizontalFlip",
    "ImageLoader",
    "ImageSet",
    "Images",
    "RandAugment",
    "RandomCrop",
    "RandomResizedCrop",
    "Views",
    "cifar_images",
    "digit_images",
    "folder_images",
    "image_split",
    "tiny_images",
]
