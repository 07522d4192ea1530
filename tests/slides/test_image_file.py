"""Images that Pillow reads: one a file, its pixels where the file has them."""

import io
import struct
import subprocess
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from nucseg_jax.errors import DataError
from nucseg_jax.slides import open_slide, read_image
from nucseg_jax.slides.opening import find_white
from tests.slides.pictures import opened, picture


@pytest.mark.parametrize("read", [opened, read_image])
def test_several_images_in_a_file(tmp_path: Path, read) -> None:
    frames = [Image.fromarray(picture()), Image.fromarray(255 - picture())]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="holds 2 images"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.ppm", "a.jp2", "a.j2k"])
def test_sixteen_bits_of_other_formats_than_png_are_refused(tmp_path: Path, name: str) -> None:
    """Pillow would drop half of the bits."""
    deep = picture().astype(np.uint16) * 16
    path = tmp_path / name
    if path.suffix == ".ppm":
        path.write_bytes(b"P6 130 90 65535\n" + deep.astype(">u2").tobytes())
    else:
        path.write_bytes(imagecodecs.jpeg2k_encode(deep, level=0, codecformat=name[2:]))
    with pytest.raises(DataError, match=rf"{name}: has more than 8 bits .* Save it as PNG"):
        opened(path)


@pytest.mark.parametrize("read", [open_slide, read_image])
@pytest.mark.parametrize("name", ["a.eps", "a.png", "a.jpg", "a.tif"])
def test_eps_is_refused_whatever_its_name_is(
    tmp_path: Path, name: str, read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow would have Ghostscript run it."""
    picture_of_pillow = io.BytesIO()
    Image.fromarray(picture()).save(picture_of_pillow, "EPS")
    (tmp_path / name).write_bytes(picture_of_pillow.getvalue())
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: 1 / 0)
    with pytest.raises(DataError, match=rf"^{tmp_path / name}: .*[^\n]$") as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.bmp", "a.ppm", "a.jp2", "a.webp"])
def test_eight_bits_of_these_formats_are_read(tmp_path: Path, name: str) -> None:
    options = {"lossless": True} if name == "a.webp" else {}
    Image.fromarray(picture()).save(tmp_path / name, **options)
    assert read_image(tmp_path / name).notes == ()
    np.testing.assert_array_equal(opened(tmp_path / name), picture())


def test_metadata_that_are_damaged_do_not_matter(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png", exif=b"Exif\0\0nonsense")
    assert read_image(tmp_path / "a.png").notes == ()


@pytest.mark.parametrize("read", [open_slide, read_image, find_white])
def test_a_header_that_claims_more_than_the_file_holds(tmp_path: Path, read) -> None:
    """Of 16 bits, whose decoder would take the memory first."""
    whole = imagecodecs.png_encode(picture().astype(np.uint16) * 257)
    header = b"IHDR" + struct.pack(">II", 20000, 20000) + whole[24:29]
    path = tmp_path / "a.png"
    path.write_bytes(whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:])
    with pytest.raises(
        DataError, match=r"a\.png: claims 20000×20000 pixels, more than its [\d,]+ bytes can hold"
    ):
        read(path)
