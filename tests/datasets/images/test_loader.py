import pytest
import torch

from structkd.datasets import HorizontalFlip, ImageLoader, Images, ImageSet, RandomCrop, Views
from structkd.errors import ConfigError, DataError


@pytest.fixture
def images(generator):
    pixels = torch.randint(256, (23, 3, 4, 4), dtype=torch.uint8, generator=generator)
    return ImageSet(torch.arange(23) % 5, tuple("abcde"), pixels)


def shown(loader, epoch=0):
    """n_id -> pixels of everything an epoch shows."""
    loader.set_epoch(epoch)
    batches = list(loader)
    ids = torch.cat([batch.n_id for batch in batches])
    return dict(zip(ids.tolist(), torch.cat([batch.images for batch in batches])))


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[i], second[i]) for i in first)


def test_an_epoch_is_one_pass(images):
    loader = ImageLoader(images, 8)
    batches = list(loader)
    assert len(loader) == 3 and [len(batch.y) for batch in batches] == [8, 8, 7]
    for batch in batches:
        assert isinstance(batch, Images) and torch.equal(batch.y, images.y[batch.n_id])
        assert torch.equal(batch.images, images.pixels[batch.n_id] * torch.tensor(1 / 255.0))
        assert batch.label_scale == 1 / len(batch.y) and batch.share == 1
    assert set(shown(loader)) == set(range(23))
    rows = torch.tensor([3, 8, 20])
    assert set(shown(ImageLoader(images, 2, rows=rows))) == {3, 8, 20}
    in_order = ImageLoader(images, 10, rows=rows.flip(0), shuffle=False)
    assert [batch.n_id.tolist() for batch in in_order] == [[20, 8, 3]]


def test_batches_depend_on_seed_and_epoch_alone(images):
    views, state = Views((RandomCrop(1), HorizontalFlip()), seed=2), torch.get_rng_state()
    loader = ImageLoader(images, 8, views=views)
    first = [batch.n_id.tolist() for batch in loader]
    assert [batch.n_id.tolist() for batch in loader] != first
    assert not same(shown(loader, 1), shown(loader, 2))
    whole = shown(loader, 3)
    others = [
        ImageLoader(images, 5, views=views),
        ImageLoader(images, 8, views=views, seed=1),
        ImageLoader(images, 8, views=views, num_workers=2),
        ImageLoader(ImageSet(images.y, images.classes, images.image), 8, views=views),
    ]
    assert all(same(shown(other, 3), whole) for other in others)
    assert torch.equal(state, torch.get_rng_state())


def test_processes_cut_the_same_batches(images):
    whole = list(ImageLoader(images, 9, seed=3))
    parts = [list(ImageLoader(images, 9, seed=3, rank=rank, world_size=2)) for rank in (0, 1)]
    for batch, *pieces in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat([piece.n_id for piece in pieces]), batch.n_id)
        loss = (batch.y.double().sum() * batch.label_scale).item()
        assert sum((p.y.sum() * p.label_scale * p.share).item() for p in pieces) / 2 == pytest.approx(loss)


def test_unlabelled_images_leave_the_mean_over_labels_right():
    images = ImageSet(torch.tensor([0, -1] * 10), ("a",), torch.zeros(20, 3, 2, 2, dtype=torch.uint8))
    batches = list(ImageLoader(images, 5))
    total = sum(float((batch.y >= 0).sum()) * batch.label_scale for batch in batches) / len(batches)
    assert total == pytest.approx(1)


def test_views_have_ids_of_their_own(images):
    loader = ImageLoader(images, 8, views=Views((HorizontalFlip(),), count=2))
    assert set(shown(loader, 0)) == set(range(23)) and set(shown(loader, 1)) == set(range(23, 46))
    assert same(shown(loader, 5), shown(loader, 1))


def test_impossible_loaders(images):
    with pytest.raises(ConfigError, match="batch_size=0"):
        ImageLoader(images, 0)
    with pytest.raises(DataError, match="no image"):
        ImageLoader(images, 8, rows=torch.arange(0))
