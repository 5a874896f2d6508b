"""The archives of the real data folder: a few images of each, without unpacking."""

import torch

from structkd.datasets import folder_images


def test_cifar10(real_data):
    images = folder_images(real_data / "images" / "cifar10_jpeg.tar.gz", "test", hold=False)
    assert len(images) == 5000 and len(images.classes) == 10 and images.classes[0] == "airplane"
    assert torch.bincount(images.y).tolist() == [500] * 10
    few = torch.stack(images.batch(torch.arange(0, 5000, 499)))
    assert few.shape == (11, 3, 32, 32) and few.float().std() > 30


def test_tiny_imagenet(real_data):
    images = folder_images(real_data / "images" / "tiny_imagenet_100.tar.gz", "val", hold=False)
    assert len(images) == 5000 and len(images.classes) == 200 and images.classes[0].startswith("n0")
    assert torch.bincount(images.y).tolist() == [25] * 200
    assert {tuple(image.shape) for image in images.batch(torch.arange(0, 5000, 499))} == {(3, 64, 64)}
