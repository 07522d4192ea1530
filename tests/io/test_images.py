"""Images in files: written whole or not at all, and known by the hash of their pixels."""

import numpy as np
import pytest
from PIL import Image

from nucseg_jax.errors import UserError
from nucseg_jax.io import files
from nucseg_jax.io.images import pixel_sha256, write_image
from nucseg_jax.slides import read_image

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 30, 3)).astype(np.uint8)


@pytest.mark.parametrize("ending", ["png", "tif", "TIFF"])
def test_written_pixels_are_read_again(tmp_path, ending):
    write_image(tmp_path / f"a.{ending}", IMAGE)
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{ending}").pixels, IMAGE)


def test_lossy_formats_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.jpg.*\.png"):
        write_image(tmp_path / "a.jpg", IMAGE)
    assert not list(tmp_path.iterdir())


def test_write_image_round_trip_and_nothing_left_beside_it(tmp_path):
    path = tmp_path / "a.png"
    drawn = IMAGE[::-1].copy()
    write_image(path, IMAGE)
    write_image(str(path), drawn)
    with Image.open(path) as stored:
        np.testing.assert_array_equal(np.asarray(stored), drawn)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_image(path, IMAGE)
    before = path.read_bytes()

    def full_disk(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(files.os, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_image(path, IMAGE // 2)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_write_image_rejects_greyscale(tmp_path):
    with pytest.raises(ValueError, match="uint8"):
        write_image(tmp_path / "a.png", IMAGE[..., 0])
    assert not list(tmp_path.iterdir())


def test_pixel_hash_is_that_of_the_bytes(tmp_path):
    black = np.zeros((2, 2, 3), np.uint8)
    assert pixel_sha256(black) == "15ec7bf0b50732b49f8228e07d24365338f9e3ab994b00af08e5a3bffe55fd8b"
    write_image(tmp_path / "a.png", IMAGE)
    assert pixel_sha256(read_image(tmp_path / "a.png").pixels) == pixel_sha256(np.asfortranarray(IMAGE))
