import io
import sys

import numpy as np
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


def encoded(picture, kind):
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "big-endian TIFF"])
def test_grey_of_16_bits_is_scaled(kind):
    ramp = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    ramp[0, :3] = 128, 129, 65535  # just below and above half of the first step, and white
    big = Image.frombytes("I;16B", (16, 16), ramp.astype(">u2").tobytes())
    content = encoded(big, "TIFF") if "big" in kind else encoded(Image.fromarray(ramp), kind)
    image = decode_image(content, "x")
    assert image.dtype == torch.uint8 and image.shape == (3, 16, 16) and image.is_contiguous()
    assert image[0].flatten().tolist() == image[2].flatten().tolist() == [0, 1, 255, *range(3, 256)]


@pytest.mark.parametrize(("dtype", "kind"), [(np.float32, "real numbers"), (np.int32, "whole numbers of 32 bits")])
def test_numbers_without_black_and_white(dtype, kind):
    content = encoded(Image.fromarray(np.eye(4, dtype=dtype)), "TIFF")
    with pytest.raises(DataError, match=rf"folder/x\.tif holds {kind} .*mode [IF].*expected 8 bits a channel"):
        decode_image(content, "folder/x.tif")


def test_pictures_come_as_they_are_stored():
    turned = Image.new("RGB", (4, 3), (9, 9, 9))
    turned.getexif()[0x0112] = 6  # a quarter turn to the right
    buffer = io.BytesIO()
    turned.save(buffer, "PNG", exif=turned.getexif())
    assert Image.open(buffer).getexif()[0x0112] == 6 and decode_image(buffer.getvalue(), "x").shape == (3, 3, 4)
    clear = decode_image(encoded(Image.new("RGBA", (1, 1), (10, 20, 30, 0)), "PNG"), "x")
    assert clear.flatten().tolist() == [10, 20, 30]


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
