"""Each change against Pillow's, or by hand; and which of them an image gets."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from structkd.datasets import RandAugment
from structkd.datasets.images.randaugment import CHANGES
from structkd.errors import ConfigError

LEVELS = torch.tensor([0.3, -0.3, 1.0, -1.0, 0.0])


@pytest.fixture
def images(generator):
    """Five images that do not use the whole range of values."""
    return torch.randint(20, 230, (5, 3, 6, 9), dtype=torch.uint8, generator=generator)


def pictures(images):
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]


def pixels(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).int()


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("identity", lambda picture, t: picture),
        ("autocontrast", lambda picture, t: ImageOps.autocontrast(picture)),
        ("posterize", lambda picture, t: ImageOps.posterize(picture, 8 - round(4 * abs(t)))),
        ("solarize", lambda picture, t: ImageOps.solarize(picture, 255 * (1 - abs(t)))),
        ("brightness", lambda picture, t: ImageEnhance.Brightness(picture).enhance(1 + 0.9 * t)),
        ("color", lambda picture, t: ImageEnhance.Color(picture).enhance(1 + 0.9 * t)),
        ("contrast", lambda picture, t: ImageEnhance.Contrast(picture).enhance(1 + 0.9 * t)),
    ],
)
def test_colours(images, name, theirs):
    ours = CHANGES[name](images, LEVELS).int()
    for result, picture, level in zip(ours, pictures(images), LEVELS.tolist(), strict=True):
        assert int((result - pixels(theirs(picture, level))).abs().max()) <= 1  # they round in between


def test_one_colour_has_no_contrast_to_stretch():
    flat = torch.full((1, 3, 4, 4), 77, dtype=torch.uint8)
    assert torch.equal(CHANGES["autocontrast"](flat, LEVELS[:1]), flat)


def test_translations(images):
    size = round(0.3 * 9 * 150 / 331)
    assert size == 1
    right, left = CHANGES["translate_x"](images[:2], LEVELS[:2])
    assert torch.equal(right[:, :, :-1], images[0, :, :, 1:]) and not right[:, :, -1].any()
    assert torch.equal(left[:, :, 1:], images[1, :, :, :-1]) and not left[:, :, 0].any()
    down = CHANGES["translate_y"](images[:1], torch.ones(1))[0]
    assert torch.equal(down[:, :-3], images[0, :, 3:]) and not down[:, -3:].any()


def test_shears_and_rotations(generator):
    images = torch.randint(1, 256, (1, 3, 11, 15), dtype=torch.uint8, generator=generator)
    for name, matrix in (("shear_x", [[1, 0.3], [0, 1]]), ("shear_y", [[1, 0], [0.3, 1]]), ("rotate", None)):
        if matrix is None:
            cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
            matrix = [[cos, -sin], [sin, cos]]
        result = CHANGES[name](images, torch.ones(1))[0]
        close = 0
        for row in range(11):
            for column in range(15):
                x, y = np.array(matrix) @ [column - 7, row - 5] + [7, 5]
                if min(abs(x % 1 - 0.5), abs(y % 1 - 0.5)) < 0.01:
                    close += 1  # between two pixels
                    continue
                x, y = round(x), round(y)
                expected = images[0, :, y, x] if 0 <= x < 15 and 0 <= y < 11 else torch.zeros(3)
                assert result[:, row, column].tolist() == expected.tolist(), (name, row, column)
        assert close < 40


@pytest.mark.parametrize("name", CHANGES)
def test_no_strength_changes_nothing(images, name):
    if name not in ("autocontrast", "solarize"):  # which know no strength, or turn pure white
        assert torch.equal(CHANGES[name](images, torch.zeros(5)), images)


def test_every_image_gets_its_own_changes(images):
    names = list(CHANGES)
    before = images.clone()
    u = torch.zeros(5, 4, dtype=torch.float64)
    picks = [
        ("rotate", "posterize"),
        ("identity", "identity"),
        ("solarize", "color"),
        ("shear_x", "shear_x"),
        ("color", "contrast"),
    ]
    for row, pair in enumerate(picks):
        u[row, 0::2] = torch.tensor([(names.index(name) + 0.5) / 12 for name in pair])
        u[row, 1::2] = torch.tensor([0.2, 0.8])  # below a half: the other way
    results = RandAugment(2, magnitude=15)(images, u)
    for image, result, (first, second) in zip(images, results, picks, strict=True):
        expected = CHANGES[second](CHANGES[first](image[None], torch.tensor([-0.5])), torch.tensor([0.5]))[0]
        assert torch.equal(result, expected)
    assert torch.equal(images, before) and RandAugment(3).draws == 6
    assert RandAugment()(images[:0], u[:0]).shape == (0, 3, 6, 9)
    for options in (dict(num_ops=0), dict(magnitude=31)):
        with pytest.raises(ConfigError, match="RandAugment"):
            RandAugment(**options)
