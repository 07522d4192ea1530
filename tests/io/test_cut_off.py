"""Images whose data end before their last pixel: refused, and never filled up with made-up pixels."""

import io
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax.errors import DataError
from nucseg_jax.io.images import decode, open_image

PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
CUT_OFF = "truncated or damaged \\(its data end before its last pixel\\)"


def picture(height: int = 90, width: int = 130) -> NDArray[np.uint8]:
    """Black below, as a label map or a border may be."""
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)
    pixels[-height // 3 :] = 0
    return pixels


def png(pixels: NDArray[np.uint8], *, interlaced: bool, lost_rows: int = 0) -> bytes:
    """RGB of 8 bits with right check sums, by hand; an interlaced one loses rows of its last pass."""
    rows = []
    for left, top, across, down in PASSES if interlaced else ((0, 0, 1, 1),):
        part = pixels[top::down, left::across]
        rows += [b"\0" + row.tobytes() for row in part if part.size]
    header = pixels.shape[1].to_bytes(4, "big") + pixels.shape[0].to_bytes(4, "big")
    header += bytes((8, 2, 0, 0, int(interlaced)))
    data = zlib.compress(b"".join(rows[: len(rows) - lost_rows]))
    content = b"\x89PNG\r\n\x1a\n"
    # In two pieces, as large images are.
    for name, body in ((b"IHDR", header), (b"IDAT", data[:50]), (b"IDAT", data[50:]), (b"IEND", b"")):
        content += len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")
    return content


def read(path: Path) -> NDArray[np.uint8]:
    with open_image(path) as image:
        return decode(image, path)


@pytest.mark.parametrize("size", [(90, 130), (1, 1), (1, 30), (7, 2), (5, 5)])
@pytest.mark.parametrize("interlaced", [False, True])
def test_a_png_that_lacks_rows(interlaced: bool, size: tuple[int, int], tmp_path: Path) -> None:
    """Pillow makes them black, and says nothing."""
    path, pixels = tmp_path / "a.png", picture(*size)
    path.write_bytes(png(pixels, interlaced=interlaced))
    np.testing.assert_array_equal(read(path), pixels)
    path.write_bytes(png(pixels, interlaced=interlaced, lost_rows=1))
    # Pillow says so where no data are left.
    with pytest.raises(DataError, match=r"a\.png: truncated or damaged" if size[0] == 1 else CUT_OFF):
        read(path)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "I;16"])
def test_a_png_of_any_kind_whose_header_says_more_rows(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    image = Image.fromarray(picture())
    image = Image.fromarray(picture()[..., 0].astype(np.uint16)) if mode == "I;16" else image.convert(mode)
    image.save(path)
    np.testing.assert_array_equal(read(path), np.asarray(image))
    content = bytearray(path.read_bytes())
    content[20:24] = (91).to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(DataError, match=CUT_OFF):
        read(path)


def test_an_image_that_is_open_in_memory(tmp_path: Path) -> None:
    """What Pillow reads of a user's own file, which it does not close."""
    whole, cut = (png(picture(), interlaced=False, lost_rows=lost) for lost in (0, 5))
    np.testing.assert_array_equal(decode(Image.open(io.BytesIO(whole)), "a"), picture())
    with pytest.raises(DataError, match=f"^a: {CUT_OFF}"):
        decode(Image.open(io.BytesIO(cut)), "a")


def truncated(data: bytes, part: float) -> bytes:
    """The first part of a JPEG, with a marker that says that this is its end."""
    return data[: int(part * len(data))] + b"\xff\xd9"


def claiming_more(data: bytes, height: int) -> bytes:
    """A JPEG whose header says another height."""
    start = max(data.rfind(b"\xff\xc0"), data.rfind(b"\xff\xc2"))  # a thumbnail's comes first
    return data[: start + 5] + height.to_bytes(2, "big") + data[start + 7 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: truncated(data, 0.95),
        lambda data: truncated(data, 0.6),
        lambda data: claiming_more(data, 300),
    ],
)
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"restart_marker_rows": 1}])
def test_a_jpeg_that_ends_too_early(
    damage: Callable[[bytes], bytes], options: dict[str, int], tmp_path: Path
) -> None:
    """libjpeg makes the missing pixels grey, and Pillow does not pass on its warning."""
    path, image = tmp_path / "a.jpg", Image.fromarray(picture()).resize((260, 180))
    image.save(path, quality=90, **options)
    assert read(path).shape == (180, 260, 3)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=f"a\\.jpg: {CUT_OFF}"):
        read(path)


def scan_starts(data: bytes) -> list[int]:
    """Where the headers of a JPEG's scans begin; the tables before one belong to the one before."""
    return [match.start() for match in re.finditer(rb"\xff\xda", data)]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_progressive_jpeg_without_its_last_scans(mode: str, tmp_path: Path) -> None:
    """libjpeg makes a blurred image of those that are left."""
    path, image = tmp_path / "a.jpg", Image.fromarray(picture()).convert(mode)
    image.save(path, progressive=True, quality=90)
    whole = path.read_bytes()
    np.testing.assert_array_equal(read(path), np.asarray(Image.open(path)))
    starts = scan_starts(whole)
    assert len(starts) > 5
    for start in starts[1:]:
        for end in (start, start + (len(whole) - start) // 3):  # before a scan, and within one
            path.write_bytes(whole[:end] + b"\xff\xd9")
            with pytest.raises(DataError, match=r"a\.jpg: truncated or damaged"):  # Pillow sees some
                read(path)


def test_a_jpeg_that_lacks_the_scan_of_a_colour(tmp_path: Path) -> None:
    """One that is not progressive may have a scan for each colour."""
    path = tmp_path / "a.jpg"
    Image.fromarray(picture()).save(path, subsampling=0, quality=90)
    (start,) = scan_starts(data := path.read_bytes())
    one_colour = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    path.write_bytes(data[:start] + one_colour + data[start + 14 :])
    assert np.asarray(Image.open(path)).shape == (90, 130, 3)
    with pytest.raises(DataError, match=CUT_OFF):
        read(path)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_a_jpeg_may_end_in_grey(
    progressive: bool, subsampling: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = picture()
    pixels[-40:] = 128
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels).save(path, progressive=progressive, subsampling=subsampling)
    np.testing.assert_array_equal(read(path)[-20:], pixels[-20:])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # which is for what others read
    np.testing.assert_array_equal(read(path)[-20:], pixels[-20:])
    if progressive:
        path.write_bytes(claiming_more(path.read_bytes(), 300))
        with pytest.raises(DataError, match=CUT_OFF):
            read(path)


def test_jpeg_with_a_thumbnail_and_bytes_behind_it(tmp_path: Path) -> None:
    """Other markers for an end are not taken for the image's own."""
    path, small = tmp_path / "a.jpg", io.BytesIO()
    Image.fromarray(picture(16, 16)).save(small, "JPEG")
    pixels = picture()
    pixels[-40:] = 128
    Image.fromarray(pixels).save(path, exif=b"Exif\0\0" + small.getvalue(), comment=b"\xff\xd9")
    whole = path.read_bytes()
    path.write_bytes(whole + small.getvalue())
    assert (read(path)[-1] == 128).all()
    path.write_bytes(claiming_more(whole, 300) + small.getvalue())
    with pytest.raises(DataError, match=CUT_OFF):
        read(path)


@pytest.mark.parametrize("name", ["a.bmp", "a.ppm", "a.webp", "a.jp2", "deep.png"])
def test_other_formats_say_so_themselves(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "deep.png":
        path.write_bytes(imagecodecs.png_encode(picture().astype(np.uint16) * 257))
    else:
        Image.fromarray(picture()).save(path)
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3])
    with pytest.raises(DataError, match=f"{path.stem}\\..*: (truncated or damaged|cannot be read)"):
        read(path)
