import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd.datasets import CenterCrop, HorizontalFlip, RandomCrop, RandomResizedCrop
from structkd.datasets.images.augment import stacked
from structkd.errors import ConfigError, DataError


@pytest.fixture
def images(generator):
    return torch.randint(1, 256, (6, 3, 5, 7), dtype=torch.uint8, generator=generator)


def test_random_crop_moves_the_image_in_a_black_border(images):
    u = torch.tensor([[0, 0], [0.5, 0.5], [0.999, 0.999], [0, 0.999], [0.5, 0], [0.21, 0.5]], dtype=torch.float64)
    cropped = RandomCrop(2)(images, u)
    down, right = [2, 0, -2, 2, 0, 1], [2, 0, -2, -2, 2, 0]
    for image, result, y, x in zip(images, cropped, down, right, strict=True):
        expected = torch.zeros_like(image)
        for row in range(5):
            for column in range(7):
                if 0 <= row - y < 5 and 0 <= column - x < 7:
                    expected[:, row, column] = image[:, row - y, column - x]
        assert torch.equal(result, expected)


def test_flip(images):
    before = images.clone()
    flipped = HorizontalFlip(0.4)(images, torch.tensor([0.1, 0.39, 0.4, 0.9, 0.0, 0.41]).double()[:, None])
    expected = [True, True, False, False, True, False]
    for image, result, mirrored in zip(images, flipped, expected, strict=True):
        assert torch.equal(result, image.flip(2) if mirrored else image)
    assert torch.equal(images, before)


def test_random_resized_crop_by_hand():
    image = torch.arange(64, dtype=torch.uint8).view(1, 8, 8).expand(3, 8, 8)
    crop = RandomResizedCrop(4, scale=(0.25, 1), ratio=(0.5, 2))
    u = torch.full((1, 40), 0.5).double()
    u[0, :4] = torch.tensor([0.0, 0.5, 0.3, 0.99])  # area 16, square: 4 x 4; top 0.3 * 5 = 1, left 0.99 * 5 = 4
    assert crop.boxes(torch.tensor([[8, 8]]), u).tolist() == [[1, 4, 4, 4]]
    assert torch.equal(crop([image], u)[0], image[:, 1:5, 4:8])
    assert torch.equal(crop(image[None], u)[0], image[:, 1:5, 4:8])
    u[0, :2] = torch.tensor([1.0, 1.0])  # area 64, twice as wide as high: 6 x 11 does not fit, so the second try
    u[0, 4:8] = torch.tensor([0.0, 0.0, 0.0, 0.0])  # area 16, twice as high as wide: 6 x 3 in the corner
    assert crop.boxes(torch.tensor([[8, 8]]), u).tolist() == [[0, 0, 6, 3]]


def test_images_no_rectangle_fits_into_give_their_middle():
    crop = RandomResizedCrop(4, scale=(1, 1), ratio=(1, 2))
    sizes = torch.tensor([[3, 30], [30, 3], [1, 1]])
    assert crop.boxes(sizes, torch.rand(3, 40).double()).tolist() == [[0, 12, 3, 6], [13, 0, 3, 3], [0, 0, 1, 1]]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 1000), st.floats(0.01, 1))
def test_rectangles_lie_inside(height, width, seed, smallest):
    u = torch.rand(8, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    boxes = RandomResizedCrop(5, scale=(smallest, 1)).boxes(torch.tensor([[height, width]]).expand(8, 2), u)
    top, left, h, w = boxes.unbind(1)
    assert bool((top >= 0).all() and (left >= 0).all() and (h >= 1).all() and (w >= 1).all())
    assert bool((top + h <= height).all() and (left + w <= width).all())


def test_center_crop():
    image = torch.zeros(3, 10, 30, dtype=torch.uint8)
    image[:, :, 10:20] = 200
    small = torch.full((3, 4, 4), 7, dtype=torch.uint8)
    result = CenterCrop(4, resize=4)([image, small], torch.empty(2, 0))
    assert result.shape == (2, 3, 4, 4) and result[0, :, :, 1:3].unique().tolist() == [200]
    assert result[1].unique().tolist() == [7]
    assert torch.equal(CenterCrop(6, resize=10)([image], torch.empty(1, 0))[0], image[:, 2:8, 12:18])


def test_images_of_different_sizes_are_brought_to_one_first(images):
    ragged = [images[0], images[1, :, :4]]
    for augment in (RandomCrop(), HorizontalFlip()):
        with pytest.raises(DataError, match=r"different sizes \(7x4, 7x5, .*RandomResizedCrop"):
            augment(ragged, torch.zeros(2, augment.draws).double())
    assert RandomResizedCrop(6)(ragged, torch.rand(2, 40).double()).shape == (2, 3, 6, 6)
    assert torch.equal(stacked(list(images)), images)


def test_wrong_settings():
    for make in (
        lambda: RandomCrop(0),
        lambda: HorizontalFlip(1.5),
        lambda: RandomResizedCrop(0),
        lambda: RandomResizedCrop(4, scale=(0.5, 0.1)),
        lambda: RandomResizedCrop(4, ratio=(0, 1)),
        lambda: CenterCrop(5, 4),
    ):
        with pytest.raises(ConfigError, match=r"Crop\(|Flip\("):
            make()
