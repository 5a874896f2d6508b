import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd.datasets import image_split
from structkd.datasets.images.splits import long_tailed
from structkd.errors import ConfigError, DataError


def balanced(classes=10, each=50, test=5):
    """Labels of training images, then of test images; and the rows of both."""
    y = torch.cat([torch.arange(classes).repeat(each), torch.arange(classes).repeat(test)])
    return y, torch.arange(classes * each), torch.arange(classes * each, y.numel())


def counts(y, rows):
    return torch.bincount(y[rows], minlength=int(y.max()) + 1).tolist()


def test_validation_is_the_same_share_of_every_class():
    y, train, test = balanced()
    split = image_split("holdout", y, train, test, val_share=0.2)
    assert counts(y, split.val) == [10] * 10 and counts(y, split.train) == [40] * 10
    assert torch.equal(torch.cat([split.train, split.val]).sort().values, train) and split.test is test
    assert image_split("holdout", y, train, test).val.numel() == 50
    none = image_split("holdout", y, train, test, val_share=0)
    assert none.val.numel() == 0 and torch.equal(none.train, train)
    few = image_split("holdout", y, train, test, val_share=0.001, per_class=3)
    assert counts(y, few.val) == [1] * 10 and counts(y, few.train) == [3] * 10


def test_a_validation_set_of_its_own():
    y, train, test = balanced()
    split = image_split("holdout", y, train[:400], test, val=train[400:])
    assert torch.equal(split.val, train[400:]) and torch.equal(split.train, train[:400])
    with pytest.raises(ConfigError, match="comes with a validation split"):
        image_split("holdout", y, train, test, val=test, val_share=0.1)


#: Training and validation images of every machine.
FINGERPRINTS = {
    ("holdout", 0): ("f8b5c91d1ee1", "f80b57f0ab6c"),
    ("holdout", 1): ("79ae207dca90", "9792f238c535"),
    ("long_tailed", 0): ("1f07a6db87ac", "f80b57f0ab6c"),
    ("long_tailed", 1): ("db814376c020", "9792f238c535"),
}


@pytest.mark.parametrize(("name", "seed"), FINGERPRINTS)
def test_splits_are_the_same_everywhere(name, seed):
    options = dict(factor=10, permute=True) if name == "long_tailed" else {}
    prints = image_split(name, *balanced(), seed=seed, **options).fingerprints()
    assert (prints["train"], prints["val"]) == FINGERPRINTS[name, seed]


def test_protocols_of_a_seed_select_on_the_same_images():
    whole = image_split("holdout", *balanced(), seed=3)
    tail = image_split("long_tailed", *balanced(), seed=3, factor=50)
    assert torch.equal(whole.val, tail.val) and set(tail.train.tolist()) < set(whole.train.tolist())


def test_published_profiles():
    assert long_tailed(np.full(10, 5000), 100).tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert long_tailed(np.full(100, 500), 100).sum() == 10847
    assert long_tailed(np.full(100, 500), 1).tolist() == [500] * 100
    assert long_tailed(np.array([5, 20, 5]), 10).tolist() == [5, 3, 1]  # never more than there are
    assert long_tailed(np.array([2, 2]), 1000).tolist() == [2, 1] and long_tailed(np.array([4]), 10).tolist() == [4]


def test_long_tails():
    y, train, test = balanced()
    split = image_split("long_tailed", y, train, test, factor=10, val_share=0.2)
    assert counts(y, split.train) == long_tailed(np.full(10, 40), 10).tolist()
    assert counts(y, split.val) == [10] * 10 and counts(y, split.test) == [5] * 10
    permuted = [
        counts(y, image_split("long_tailed", y, train, test, seed=s, factor=10, permute=True).train) for s in (0, 1)
    ]
    assert permuted[0] != permuted[1] and sorted(permuted[0]) == sorted(permuted[1])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(-1, 4), min_size=6, max_size=60),
    st.integers(0, 5),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.booleans(),
)
def test_parts_are_disjoint(labels, seed, share, tail):
    y = torch.tensor([*labels, 0, 1])
    train, test = torch.arange(len(labels)), torch.tensor([len(labels), len(labels) + 1])
    try:
        name, options = ("long_tailed", dict(factor=7)) if tail else ("holdout", {})
        split = image_split(name, y, train, test, seed=seed, val_share=share, **options)
    except DataError as error:
        assert "too few" in str(error) or "None of the training images" in str(error)
        return
    ids = torch.cat([split.train, split.val])
    assert ids.unique().numel() == ids.numel() and torch.isin(ids, train).all() and bool((y[ids] >= 0).all())
    assert set(y[split.train].tolist()) == set(range(int(y[train].max()) + 1))


def test_impossible_splits():
    y, train, test = balanced(each=4)
    for options, match in (
        (dict(name="holdouts"), "no split protocol 'holdouts' for images.*holdout"),
        (dict(name="holdout", factor=3), "'holdout' has no option 'factor'"),
        (dict(name="holdout", val_share=1), "val_share=1"),
        (dict(name="long_tailed", factor=0.5), "factor=0.5"),
    ):
        with pytest.raises(ConfigError, match=match):
            image_split(y=y, train=train, test=test, **options)
    with pytest.raises(DataError, match="per_class=9: class 0 has 3 images left"):
        image_split("holdout", y, train, test, per_class=9)
    with pytest.raises(DataError, match="Class 3 has 0 training images, too few"):
        image_split("holdout", y[y != 3], torch.arange(36), test)
    with pytest.raises(DataError, match="None of the training images"):
        image_split("holdout", torch.full_like(y, -1), train, test)
