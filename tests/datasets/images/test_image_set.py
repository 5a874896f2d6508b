import pytest
import torch

from structkd.datasets import ImageSet
from structkd.datasets.images.image_set import join
from structkd.errors import DataError


def held(count=4, classes=("a", "b"), size=2):
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(count, 3, size, size)
    return ImageSet(torch.arange(count) % 2, classes, pixels.contiguous())


def lazy(sizes, classes=("a", "b")):
    return ImageSet(
        torch.zeros(len(sizes), dtype=torch.int64), classes, lambda row: torch.full((3, *sizes[row]), row).byte()
    )


def test_held_and_decoded_images():
    images = held()
    assert len(images) == 4 and images.image(3).unique().tolist() == [3]
    assert images.batch(torch.tensor([2, 0]))[:, 0, 0, 0].tolist() == [2, 0] and images.held() is images
    decoded = lazy([(2, 3), (4, 1)])
    assert [image.shape for image in decoded.batch(torch.tensor([1, 0]))] == [(3, 4, 1), (3, 2, 3)]
    assert torch.equal(lazy([(2, 2)] * 3).held().pixels[:, 0, 0, 0], torch.arange(3).byte())
    with pytest.raises(DataError, match="Images 0 and 1 have the sizes 3x2 and 1x4"):
        decoded.held()


def test_sets_become_one():
    whole = join([held(4), held(2)], ("train", "test"))
    assert whole.pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 0, 1] and whole.y.tolist() == [0, 1, 0, 1, 0, 1]
    for other in (held(2, size=3), lazy([(5, 5)] * 2)):
        whole = join([held(4), other], ("train", "test"))
        assert whole.pixels is None and [int(whole.image(row)[0, 0, 0]) for row in range(6)] == [0, 1, 2, 3, 0, 1]
        assert whole.image(5).shape == other.image(1).shape
        with pytest.raises(IndexError):
            whole.image(6)
    with pytest.raises(DataError, match=r"'val' lacks \['b'\] and has besides \['c'\]\."):
        join([held(), held(2, classes=("a", "c"))], ("train", "val"))
    with pytest.raises(DataError, match="in another order"):
        join([held(), held(2, classes=("b", "a"))], ("train", "val"))


@pytest.mark.parametrize(
    ("y", "pixels", "match"),
    [
        ([], torch.zeros(0, 3, 2, 2).byte(), "N > 0"),
        ([0, 2], torch.zeros(2, 3, 2, 2).byte(), "labels go from 0 to 2; with 2 classes they go from 0 to 1"),
        ([-2, 0], torch.zeros(2, 3, 2, 2).byte(), "from -2"),
        ([0.0, 1.0], torch.zeros(2, 3, 2, 2).byte(), "float32; expected int64"),
        ([0, 1], torch.zeros(2, 3, 2, 2), r"float32; expected uint8 \[2, 3, H, W\]"),
        ([0, 1], torch.zeros(2, 1, 2, 2).byte(), r"\(2, 1, 2, 2\)"),
        ([0, 1], torch.zeros(3, 3, 2, 2).byte(), r"2 labels got pixels \(3, "),
    ],
)
def test_wrong_sets(y, pixels, match):
    with pytest.raises(DataError, match=match):
        ImageSet(torch.tensor(y), ("a", "b"), pixels)
