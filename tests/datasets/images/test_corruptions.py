"""Corruptions: by hand on small images, stronger with the severity, and each image's own whatever the batch."""

import pytest
import torch

from structkd.datasets import Corrupt, digit_images
from structkd.datasets.images.corruptions import KINDS
from structkd.datasets.images.draws import uniforms
from structkd.errors import ConfigError


def shown(kind, severity, images, rows=None):
    rows = torch.arange(len(images)) if rows is None else rows
    damage = Corrupt(kind, severity)
    return damage(images, uniforms(rows, damage.draws, 0, 0, 0))


@pytest.fixture(scope="module")
def digits():
    return digit_images("test").batch(torch.arange(32))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind, digits):
    before, changes = digits.clone(), []
    for severity in (1, 3, 5):
        found = shown(kind, severity, digits)
        assert found.shape == digits.shape and found.dtype == torch.uint8
        assert torch.equal(found, shown(kind, severity, digits))
        assert torch.equal(found[8:20], shown(kind, severity, digits[8:20], torch.arange(8, 20)))
        changes.append((found.float() - digits.float()).abs().mean().item())
    assert torch.equal(digits, before)
    assert 0 < changes[0] < changes[2]
    assert shown(kind, 2, digits[:0]).shape == (0, 3, 8, 8)


def test_by_hand():
    flat = torch.full((1, 3, 4, 4), 100, dtype=torch.uint8)
    assert (shown("brightness", 2, flat) == 151).all()  # 100 + 0.2 * 255
    assert all((shown(kind, 5, flat) == 100).all() for kind in ("blur", "contrast", "pixelate"))
    halves = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    halves[..., 2:] = 200
    assert shown("contrast", 3, halves)[0, 0, 0].tolist() == [70, 70, 130, 130]  # 100 +- 0.3 * 100
    assert shown("pixelate", 5, halves)[0].unique().tolist() == [100]  # one cell
    assert shown("pixelate", 3, halves)[0, 0, 0].tolist() == [0, 0, 200, 200]


def test_a_shift_moves_every_image_by_the_same_distance():
    images = torch.zeros(64, 3, 9, 9, dtype=torch.uint8)
    images[:, :, 4, 4] = 255
    places = (shown("shift", 5, images)[:, 0] == 255).nonzero()
    moved = (places[:, 1:] - 4).abs().amax(1)
    assert len(places) == 64 and (moved == 3).all()  # 0.3 * 9
    assert len({tuple(place) for place in places[:, 1:].tolist()}) == 8


@pytest.mark.parametrize("options", [dict(kind="fog"), dict(kind="blur", severity=0), dict(kind="blur", severity=2.5)])
def test_refused(options):
    with pytest.raises(ConfigError):
        Corrupt(**options)
