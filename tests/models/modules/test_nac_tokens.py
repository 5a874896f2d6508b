import pytest
import torch

from structkd.errors import ConfigError
from structkd.models.images.positions import sincos_positions
from structkd.models.modules.nac_tokens import ImageTokens


def test_patches_from_the_size_of_images():
    assert ImageTokens(3, 8, (1, 1), None, 64).stride == 8 == ImageTokens(3, 8, (1,), None, (64, 128)).stride
    assert ImageTokens(3, 8, (1, 1), 1, 64).stride == 2 and ImageTokens(3, 8, (0,), None, 4).stride == 1


def test_positions_are_added():
    tokens, images = ImageTokens(3, 8, (0,), 2, 8), torch.ones(2, 3, 8, 12)
    out = tokens(images)
    assert out.shape == (2, 8, 4, 6)
    # Patches of a plain image differ by their places alone.
    places = sincos_positions((4, 6), 8).t().unflatten(1, (4, 6))
    torch.testing.assert_close(out - out[..., :1, :1], (places - places[:, :1, :1]).expand(2, -1, -1, -1))


@pytest.mark.parametrize("patch_size", [0, -2, 1.5])
def test_wrong_patches(patch_size):
    with pytest.raises(ConfigError, match=f"^patch_size={patch_size}: expected a whole number of pixels"):
        ImageTokens(3, 8, (1,), patch_size, 32)


@pytest.mark.parametrize("depths, channels", [((), 8), ((1, -1), 8), ((1, 1), 9)])
def test_wrong_stages(depths, channels):
    with pytest.raises(ConfigError, match=rf"stem_depths=\[.*\]: expected blocks .* halve {channels}"):
        ImageTokens(3, channels, depths, 2, 32)
