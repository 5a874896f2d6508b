import pytest
import torch

from structkd.datasets import CenterCrop, HorizontalFlip, ImageSet, RandomCrop, Views
from structkd.datasets.images.views import channel_statistics
from structkd.errors import ConfigError


@pytest.fixture
def images(generator):
    pixels = torch.randint(256, (12, 3, 6, 6), dtype=torch.uint8, generator=generator)
    return ImageSet(torch.arange(12) % 3, ("a", "b", "c"), pixels)


AUGMENT = (RandomCrop(2), HorizontalFlip())


def test_normalisation(images):
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.25, 0.5)
    rows = torch.tensor([3, 0])
    shown = Views((), mean, std)(images, rows)
    expected = (images.pixels[rows].double() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert shown.dtype == torch.float32 and torch.allclose(shown.double(), expected, atol=1e-6)
    as_they_are = Views()(images, rows)
    assert torch.allclose(as_they_are, images.pixels[rows] / 255) and float(as_they_are.max()) <= 1


def test_a_view_is_a_function_of_seed_epoch_and_image(images):
    views, rows = Views(AUGMENT, seed=4), torch.tensor([7, 2, 9])
    state, shown = torch.get_rng_state(), views(images, rows, 5)
    assert torch.equal(shown[1:2], views(images, rows[1:2], 5))
    assert torch.equal(shown, Views(AUGMENT, seed=4)(images, rows, 5))
    assert not torch.equal(shown, views(images, rows, 6))
    assert not torch.equal(shown, Views(AUGMENT, seed=5)(images, rows, 5))
    assert torch.equal(state, torch.get_rng_state())
    decoded = ImageSet(images.y, images.classes, images.image)
    assert torch.equal(views(decoded, rows, 5), shown)


def test_a_fixed_number_of_views(images):
    rows = torch.arange(12)
    endless, three = Views(AUGMENT), Views(AUGMENT, count=3)
    assert endless.count is None and three.count == 3
    for epoch in range(7):
        assert torch.equal(three(images, rows, epoch), endless(images, rows, epoch % 3))
        assert torch.equal(three.ids(rows, epoch, 12), rows + 12 * (epoch % 3))
        assert torch.equal(endless.ids(rows, epoch, 12), rows)
    different = {tuple(three(images, rows[:4], view).flatten().tolist()) for view in range(6)}
    assert len(different) == 3


def test_views_without_randomness_are_one(images):
    for views in (Views(), Views((CenterCrop(4, resize=6),)), Views((), count=5)):
        assert views.count == 1
        assert torch.equal(views(images, torch.arange(12), 9), views(images, torch.arange(12), 0))
        assert views.ids(torch.tensor([3]), 9, 12).tolist() == [3]


def test_statistics(images):
    rows = torch.tensor([1, 5, 6])
    mean, std = channel_statistics(images, rows)
    values = images.pixels[rows].double().transpose(0, 1).flatten(1) / 255
    assert mean == pytest.approx(values.mean(1).tolist()) and std == pytest.approx(values.std(1, correction=0).tolist())
    assert channel_statistics(images, torch.arange(12), most=3) == channel_statistics(images, torch.tensor([0, 6, 11]))
    black = ImageSet(torch.zeros(2, dtype=torch.int64), ("a",), torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    assert channel_statistics(black, torch.arange(2)) == ((0, 0, 0), (1, 1, 1))


def test_wrong_settings():
    for options in (dict(std=(1, 0, 1)), dict(mean=(0.5,)), dict(count=0)):
        with pytest.raises(ConfigError, match="expected"):
            Views(**options)
