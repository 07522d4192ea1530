"""Images that Pillow reads: one a file, its pixels where the file has them."""

from pathlib import Path

import pytest
from PIL import Image

from nucseg_jax.errors import DataError
from tests.slides.pictures import opened, picture


def test_several_images_in_a_file(tmp_path: Path) -> None:
    frames = [Image.fromarray(picture()), Image.fromarray(255 - picture())]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="holds 2 images"):
        opened(tmp_path / "a.png")


def test_orientation_and_other_pages_are_left_alone(tmp_path: Path) -> None:
    """Coordinates are those of the file's pixels, as other tools count them."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(picture()).save(tmp_path / "a.png", exif=exif)
    assert opened(tmp_path / "a.png").shape == (90, 130, 3)
