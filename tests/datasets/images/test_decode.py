import io
import sys

import pytest
import torch
from PIL import Image

from structkd.datasets.images.decode import Pictures, decode_image
from structkd.datasets.images.tree import open_tree
from structkd.errors import ConfigError, DataError


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1"])
def test_pictures_of_all_modes_have_three_channels(mode):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (255, 255, 255)).convert(mode).save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    image = decode_image(buffer.getvalue(), "x")
    assert image.shape == (3, 3, 4) and image.dtype == torch.uint8 and int(image.min()) >= 254


def test_pictures_of_a_tree(tmp_path, picture, write_tree):
    write_tree(tmp_path, {"a.png": picture(5), "b.png": picture(6, (9, 3))})
    whole, square = (Pictures(open_tree(tmp_path), ["b.png", "a.png"], size) for size in (None, 2))
    assert whole(0).shape == (3, 3, 9) and int(whole(1)[0, 0, 0]) == 5
    assert square(0).shape == (3, 2, 2) and square(0).unique().tolist() == [6]


def test_what_is_missing(monkeypatch):
    with pytest.raises(DataError, match=r"folder/x\.png is no readable picture"):
        decode_image(b"", "folder/x.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigError, match="pip install pillow"):
        decode_image(b"", "x")
