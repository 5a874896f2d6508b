import pytest
import torch
from PIL import Image

from structkd.datasets.images.resize import center_square, resized_crop


def test_resizing_is_the_usual_one():
    picture = Image.effect_noise((40, 31), 80)
    image = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(1, 31, 40).expand(3, 31, 40)
    ours = resized_crop(image, (3, 5, 20, 30), (12, 16))[0].int()
    theirs = picture.crop((5, 3, 35, 23)).resize((16, 12), Image.Resampling.BILINEAR)
    theirs = torch.frombuffer(bytearray(theirs.tobytes()), dtype=torch.uint8).view(12, 16).int()
    assert int((ours - theirs).abs().max()) <= 1


def test_a_box_of_the_right_size_is_cut_out():
    image = torch.arange(3 * 5 * 6, dtype=torch.uint8).view(3, 5, 6)
    assert torch.equal(resized_crop(image, (1, 2, 3, 4), (3, 4)), image[:, 1:4, 2:6])


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (7, 5), (3, 1000)])
def test_squares_of_any_image(shape):
    image = torch.full((3, *shape), 90, dtype=torch.uint8)
    square = center_square(image, 6, 8)
    assert square.shape == (3, 6, 6) and square.unique().tolist() == [90]
