"""How `read_image` meets whole, damaged and foreign files."""

import numpy as np
import pytest
from PIL import Image

from nucseg_jax.errors import DataError
from nucseg_jax.io.images import pixel_sha256, read_image

PICTURE = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)


def test_read_image(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "a.tif", compression="tiff_lzw")
    image = read_image(tmp_path / "a.tif")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, PICTURE)


def test_pixel_hash_is_that_of_the_bytes(tmp_path):
    black = np.zeros((2, 2, 3), np.uint8)
    assert pixel_sha256(black) == "15ec7bf0b50732b49f8228e07d24365338f9e3ab994b00af08e5a3bffe55fd8b"
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    assert pixel_sha256(read_image(tmp_path / "a.png")) == pixel_sha256(np.asfortranarray(PICTURE))


@pytest.mark.parametrize(
    ("mode", "named"),
    [("L", "greyscale"), ("RGBA", "transparency"), ("P", "palette"), ("I;16", "I;16"), ("1", "black")],
)
def test_other_than_rgb_is_refused(tmp_path, mode, named):
    path = tmp_path / "grey.png"
    Image.new(mode, (8, 8)).save(path)
    with pytest.raises(DataError, match=named) as caught:
        read_image(path)
    assert str(path) in str(caught.value) and "not 8-bit RGB" in str(caught.value)


@pytest.mark.parametrize("suffix", ["tif", "png", "jpg"])
def test_truncated_image(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(PICTURE).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="again") as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_no_image(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(DataError, match=r"text\.png: cannot be read as an image"):
        read_image(tmp_path / "text.png")
    with pytest.raises(DataError, match=r"absent\.png: no such file"):
        read_image(tmp_path / "absent.png")
