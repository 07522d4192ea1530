"""One white for all files of 16 bits of a dataset."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nucseg_jax.errors import DataError
from nucseg_jax.slides import read_image, shared_white
from tests.slides.test_white import deep, tissue_alone, tissue_and_glass, write

WHITE = 0.84 * 65535


def of_camera(folder: Path, white: float = WHITE) -> list[Path]:
    """Four images by one camera, of which the last shows no glass; as PNG and TIFF."""
    pictures = [tissue_and_glass((g, g - 2, g - 1)) for g in (231, 240, 248)] + [tissue_alone()]
    names = ("a.png", "b.tif", "planes.tif", "d.png")
    return [write(folder / n, deep(p, white)) for n, p in zip(names, pictures, strict=True)]


def test_images_of_one_camera_are_scaled_alike(tmp_path: Path) -> None:
    paths = of_camera(tmp_path)
    apart = [read_image(path).pixels[60:] for path in paths[:3]]
    assert np.abs(apart[0].astype(int) - apart[2]).max() > 5
    white, (said,) = shared_white.find(paths)
    assert white == pytest.approx(WHITE, rel=0.02)
    assert f"white is {white:,} in all files, the median of " in said and "--white" in said
    images = [read_image(path, white=white) for path in paths]
    for image in images[1:3]:
        np.testing.assert_array_equal(image.pixels[60:], images[0].pixels[60:])
    assert np.abs(images[3].pixels.astype(int) - tissue_alone()).max() <= 5
    assert all(i.notes[0].endswith(f"white is {white:,}, as in the other files of 16 bits") for i in images)


def test_cameras_that_differ_keep_their_own(tmp_path: Path) -> None:
    write(tmp_path / "dark.png", deep(tissue_and_glass(), 4095))
    write(tmp_path / "bright.png", deep(tissue_and_glass(), 65535))
    white, (said,) = shared_white.find(sorted(tmp_path.iterdir()))
    assert white is None
    assert "white is 4,095 in dark.png and 65,535 in bright.png" in said and "--white" in said


def test_an_image_of_another_camera_does_not_take_the_white_of_the_others(tmp_path: Path) -> None:
    paths = of_camera(tmp_path)
    white, _ = shared_white.find(paths)
    other = write(tmp_path / "other.png", deep(tissue_alone(), 4095))
    with pytest.raises(DataError, match=r"other\.png: .*the image shows no glass"):
        read_image(other, white=white)


def test_eight_bits_and_damaged_files_do_not_count(tmp_path: Path) -> None:
    Image.fromarray(tissue_and_glass()).save(tmp_path / "a.png")
    Image.fromarray(tissue_and_glass()).save(tmp_path / "b.tif")
    (tmp_path / "c.png").write_bytes(b"nothing")
    assert shared_white.find(sorted(tmp_path.iterdir())) == (None, ())
    deep_one = write(tmp_path / "d.png", deep(tissue_and_glass(), 4095))
    white, said = shared_white.find(sorted(tmp_path.iterdir()))
    assert white == 4095 and said == ()
    np.testing.assert_array_equal(read_image(deep_one, white=white).pixels, tissue_and_glass())
    assert read_image(tmp_path / "a.png", white=white).notes == ()
