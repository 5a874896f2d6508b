import pytest
import torch

from structkd.errors import ConfigError
from structkd.models.images.inputs import ImageInput


def test_undoes_one_normalisation_and_does_the_other():
    pixels = torch.rand(2, 3, 4, 4)
    mean, std, wanted, spread = (torch.rand(3) + 0.2 for _ in range(4))
    given = (pixels - mean[:, None, None]) / std[:, None, None]
    expected = (pixels - wanted[:, None, None]) / spread[:, None, None]
    assert torch.allclose(ImageInput(mean, std, wanted, spread)(given), expected, atol=1e-5)


def test_nothing_to_do():
    x = torch.rand(1, 3, 4, 4)
    out = ImageInput(None, None, (0.5,) * 3, (0.5,) * 3, size=4)(x)
    assert torch.equal(out, x) and out.is_contiguous(memory_format=torch.channels_last)
    assert not ImageInput(None, None, (0.5,) * 3, (0.5,) * 3).state_dict()


@pytest.mark.parametrize("size, shape", [(8, (8, 8)), ((2, 6), (2, 6))])
def test_resize(size, shape):
    x = torch.full((1, 3, 4, 4), 0.3)
    out = ImageInput(None, None, (0.5,) * 3, (0.5,) * 3, size)(x)
    assert out.shape == (1, 3, *shape) and torch.allclose(out, torch.tensor(0.3))


@pytest.mark.parametrize("mean, std", [((0.5,) * 3, None), (None, (0.5,) * 3), ((0.5,), (0.5,))])
def test_wrong_numbers(mean, std):
    with pytest.raises(ConfigError, match="pixel_mean="):
        ImageInput(mean, std, (0.5,) * 3, (0.5,) * 3)
