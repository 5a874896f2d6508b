import pytest
import torch

from structkd.datasets import digit_images
from structkd.errors import ConfigError


def test_digits():
    train, test = digit_images(), digit_images("test")
    assert train.pixels.shape == (1347, 3, 8, 8) and test.pixels.shape == (450, 3, 8, 8)
    assert train.classes == test.classes == tuple("0123456789")
    for images in (train, test):
        counts = torch.bincount(images.y, minlength=10)
        assert int(counts.max()) < 1.2 * int(counts.min())
        assert int(images.pixels.min()) == 0 and int(images.pixels.max()) == 255
        assert torch.equal(images.pixels[:, 0], images.pixels[:, 2])
    with pytest.raises(ConfigError, match="split='val'"):
        digit_images("val")
