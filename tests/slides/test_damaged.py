"""Files that are damaged, or of rare kinds: read rightly or refused by name, never silently wrong."""

import os
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import EpsImagePlugin, Image

from nucseg_jax.errors import DataError
from nucseg_jax.io.label_maps import read_label_map
from nucseg_jax.slides import open_slide, read_image
from tests.slides.pictures import opened, picture


@pytest.mark.parametrize("extra", [["unspecified"], None])
def test_a_fourth_sample_that_is_no_transparency(tmp_path: Path, extra: list[str] | None) -> None:
    pixels = np.dstack([picture(), np.zeros_like(picture()[..., 0])])
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=extra or ["unassalpha"])
    if extra is None:  # a program that leaves the tag out
        with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
            tag = file.pages[0].tags["ExtraSamples"]
            file.filehandle.seek(tag.offset)
            file.filehandle.write((65000).to_bytes(2, "little"))
    np.testing.assert_array_equal(opened(tmp_path / "a.tif"), picture())


def test_a_palette_of_bytes(tmp_path: Path) -> None:
    indexed = Image.fromarray(picture()).quantize(64)
    table = np.zeros((3, 256), np.uint16)
    table[:, :64] = np.asarray(indexed.getpalette()[: 3 * 64]).reshape(-1, 3).T
    tifffile.imwrite(tmp_path / "a.tif", np.asarray(indexed), photometric="palette", colormap=table)
    np.testing.assert_array_equal(opened(tmp_path / "a.tif"), np.asarray(indexed.convert("RGB")))


@pytest.mark.parametrize("compression", ["zlib", "jpeg", None])
@pytest.mark.parametrize("tile", [(64, 64), None])
def test_a_tiff_that_was_cut_off(
    tmp_path: Path, compression: str | None, tile: tuple[int, int] | None
) -> None:
    """The directory comes first here, so that the file opens; its last pieces must not be taken for white."""
    path = tmp_path / "a.tif"
    strips = {"rowsperstrip": 16} if tile is None else {}
    tifffile.imwrite(path, picture(), photometric="rgb", compression=compression, tile=tile, **strips)
    for lost in (1, 200):
        path.write_bytes(path.read_bytes()[:-lost])
        with pytest.raises(DataError, match=r"a\.tif: cannot be read as a TIFF \(it ends at byte"):
            open_slide(path)


@pytest.mark.parametrize("metadata", [None, {}])
@pytest.mark.parametrize("size", [(40, 50), (90, 130)])
def test_a_tiff_whose_first_image_is_not_the_largest(
    tmp_path: Path, size: tuple[int, int], metadata: dict | None
) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for image in (picture()[: size[0], : size[1]], picture()[::-1]):
            writer.write(image, photometric="rgb", metadata=metadata)
    for read in (open_slide, read_image):
        with pytest.raises(
            DataError, match=r"a\.tif: .*(its first image, .* is no larger than another|2 images)"
        ):
            read(tmp_path / "a.tif")


def test_other_images_of_a_tiff_are_said_to_be_left_out(tmp_path: Path) -> None:
    """But for what belongs to the first one: a scanner's label, a smaller copy."""

    def note(**second: object) -> tuple[str, ...]:
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            writer.write(picture(), photometric="rgb", metadata=None)
            writer.write(picture()[:40, :50], photometric="rgb", metadata=None, **second)
        return read_image(tmp_path / "a.tif").notes

    assert note() == ("another image in the file is left out: the first is read",)
    assert note(subfiletype=1) == note(description="label 40x50") == ()


def test_a_tiff_whose_list_of_images_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for _ in range(2):
            writer.write(picture(), photometric="rgb", metadata=None)
    with tifffile.TiffFile(path) as file:
        second = file.pages[1].offset
    path.write_bytes(path.read_bytes()[:second])
    with pytest.raises(DataError, match=r"a\.tif: .*its list of images is cut off"):
        open_slide(path)


def test_few_bits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture() // 16, photometric="rgb")
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["BitsPerSample"].overwrite((4, 4, 4))
    with pytest.raises(DataError, match=r"a\.tif: is a TIFF of 3 × 4-bit"):
        open_slide(tmp_path / "a.tif")


@pytest.mark.parametrize("value", ["abc", "0,25", "nan", "inf"])
def test_a_physical_size_that_is_no_number(tmp_path: Path, value: str) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path, picture(), photometric="rgb", metadata={"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    )
    data = path.read_bytes().replace(b'PhysicalSizeX="0.25"', f'PhysicalSizeX="{value:4}"'.encode())
    path.write_bytes(data)
    with open_slide(path, assumed_mpp=0.5) as slide:
        assert slide.mpp == 0.5 and slide.mpp_source.startswith("assumed: ")


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: is no file"):
        open_slide(tmp_path / "a.png")


def test_a_slide_cut_off(tmp_path: Path) -> None:
    """Whatever a library raises, the message names the file."""
    path = tmp_path / "a.svs"
    tifffile.imwrite(path, picture(), photometric="rgb", tile=(64, 64))
    content = path.read_bytes()
    for part in (0.05, 0.5, 0.8, 0.99):
        path.write_bytes(content[: int(part * len(content))])
        with pytest.raises(DataError, match=r"a\.svs: "), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            open_slide(path)


def directories(path: Path) -> tuple[bytearray, list[int]]:
    """The content of a classic TIFF, and the places that say where the next image's directory is."""
    with tifffile.TiffFile(path) as file:
        places = [page.offset + 2 + 12 * len(page.tags) for page in file.pages]
    return bytearray(path.read_bytes()), places


@pytest.mark.parametrize("target", [0, 1])
def test_a_list_of_images_that_goes_in_a_circle(target: int, tmp_path: Path) -> None:
    """Followed, it would take hours: by prediction, and where it is a label map."""
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for _ in range(2):
            writer.write(picture(), photometric="rgb", metadata=None)
    with tifffile.TiffFile(path) as file:
        start = file.pages[target].offset
    content, places = directories(path)
    content[places[1] : places[1] + 4] = start.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tif: .*its list of images goes in a circle"):
        open_slide(path)
    with pytest.raises(DataError, match=r"a\.tif: .*its list of images goes in a circle"):
        read_label_map(path, (90, 130))


@pytest.mark.parametrize(("tag", "value"), [("ImageLength", 900), ("ImageWidth", 1300)])
def test_a_size_that_was_changed_is_found(tag: str, value: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture(), photometric="rgb", tile=(32, 32), metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags[tag].overwrite(value)
    with pytest.raises(DataError, match=r"pieces make an image of its size, and it lists fewer"):
        open_slide(path)


@pytest.mark.parametrize("tag", ["ImageLength", "ImageWidth"])
def test_an_image_without_pixels(tag: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture(), photometric="rgb", tile=(32, 32), metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags[tag].overwrite(0)
    for read in (open_slide, read_image):
        with pytest.raises(DataError, match=r"a\.tif: cannot be read as a TIFF"):
            read(path)


def aperio(path: Path) -> Path:
    """A slide of two levels, as Aperio's scanners write them."""
    description = "Aperio Image Library v12.0\n512x512 [0,0 512x512] (64x64) JPEG/RGB|AppMag = 20|MPP = 0.5"
    options = {"photometric": "rgb", "compression": "jpeg", "metadata": None}
    with tifffile.TiffWriter(path) as writer:
        for image, kind in ((picture(512, 512), 0), (picture(256, 256), 1)):
            writer.write(image, tile=(32, 32), description=description, subfiletype=kind, **options)
    return path


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize(
    ("tag", "value", "said"),
    [
        ("TileWidth", 2**29, r"its tiles have 32 × 536,870,912 pixels"),
        ("TileByteCounts", (2**31,) * 256, r"a tile has 2,147,483,648 bytes, the file [\d,]+\)"),
    ],
)
def test_sizes_that_openslide_would_abort_at(
    level: int, tag: str, value: int | tuple[int, ...], said: str, tmp_path: Path
) -> None:
    """It takes memory for as much as a file says, and ends the process where there is not so much."""
    path = aperio(tmp_path / "a.svs")
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[level].tags[tag].overwrite(value, dtype="I")
    for read in (open_slide, read_image):
        with pytest.raises(DataError, match=r"a\.svs: cannot be read \(" + said):
            read(path)


@pytest.mark.parametrize("tag", ["BitsPerSample", "PhotometricInterpretation"])
def test_a_tag_of_many_values(tag: str, tmp_path: Path) -> None:
    """The message does not name them all."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture(), photometric="rgb")
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags[tag].overwrite((9, 8, 7) * 300, dtype="H")
    with pytest.raises(DataError) as error:
        open_slide(path)
    assert "a.tif: " in str(error.value) and len(str(error.value)) < 600


def test_levels_that_cannot_show_the_same(tmp_path: Path) -> None:
    """As where the width of a slide is damaged: OpenSlide would read a million white columns."""
    path = aperio(tmp_path / "a.svs")
    with open_slide(path) as slide:
        assert slide.size == (512, 512)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["ImageWidth"].overwrite(2**20)
    for read in (open_slide, read_image):
        with pytest.raises(DataError, match="512×1048576 and 256×256 pixels, which cannot show the same"):
            read(path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_png_that_claims_more_pixels_than_it_holds(mode: str, tmp_path: Path) -> None:
    """Pillow gives the missing ones as black, without a word."""
    path = tmp_path / "a.png"
    Image.fromarray(picture()).convert(mode).save(path)
    content = bytearray(path.read_bytes())
    content[20:24] = (3_000_000).to_bytes(4, "big")  # its height, with a right check sum
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"a\.png: claims 3000000×130 pixels, more than its [0-9,]+ bytes can hold"
    ):
        open_slide(path)


def test_png_rows_that_are_missing_are_not_black(tmp_path: Path) -> None:
    """Fewer than those that the file's size gives away: in an image of any kind, and in a label map."""
    path = tmp_path / "a.png"
    for mode, read in (
        *((mode, read) for mode in ("RGB", "RGBA", "P") for read in (open_slide, read_image)),
        ("L", lambda path: read_label_map(path, (180, 130))),
    ):
        Image.fromarray(picture()).convert(mode).save(path)
        content = bytearray(path.read_bytes())
        content[20:24] = (180).to_bytes(4, "big")
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.png: truncated or damaged \(its data end before its last"):
            read(path)


@pytest.mark.parametrize("with_end", [False, True])
def test_a_piece_of_jpeg_in_a_tiff_that_ends_too_early(with_end: bool, tmp_path: Path) -> None:
    """Its missing pixels would be grey."""
    path = tmp_path / "a.tif"
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (256, 256, 3)).astype(np.uint8)
    pixels[200:, 200:] = 128  # a whole piece may end in grey
    tifffile.imwrite(path, pixels, photometric="rgb", compression="jpeg", tile=(128, 128), metadata=None)
    assert read_image(path).pixels.shape == (256, 256, 3)
    with tifffile.TiffFile(path, mode="r+b") as file:
        page = file.pages[0]
        start, length = page.dataoffsets[1], page.databytecounts[1]
        if with_end:
            file.filehandle.seek(start + length * 2 // 3)
            file.filehandle.write(b"\xff\xd9".ljust(length - length * 2 // 3, b"\0"))
        else:
            lengths = list(page.databytecounts)
            lengths[1] = length * 2 // 3
            page.tags["TileByteCounts"].overwrite(lengths)
    with pytest.raises(DataError, match=r"a\.tif: .* \(a piece of it ends before its last pixel\)"):
        read_image(path)
    with open_slide(path, 0.5) as slide:
        slide.region(0, 0, 100, 100, 0.5)  # another piece
        with pytest.raises(DataError, match="ends before its last pixel"):
            slide.region(0, 128, 100, 100, 0.5)


@pytest.mark.parametrize("tile", [(32, 32), None])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_label_map_that_lacks_pieces(
    compression: str | None, tile: tuple[int, int] | None, tmp_path: Path
) -> None:
    """What is missing is no background."""
    path, labels = tmp_path / "a.tif", np.full((90, 130), 7, np.uint16)
    options = {"rowsperstrip": 16} if tile is None else {"tile": tile}
    tifffile.imwrite(
        path, labels, photometric="minisblack", compression=compression, metadata=None, **options
    )
    np.testing.assert_array_equal(read_label_map(path, (90, 130)), labels)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["ImageLength"].overwrite(180)
    with pytest.raises(DataError, match=r"a\.tif: .*pieces make an image of its size, and it lists fewer"):
        read_label_map(path, (180, 130))


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 90 130
%%EndComments
newpath 0 0 moveto 90 130 lineto stroke
showpage
%%EOF
"""


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.eps"])
def test_no_program_is_started_for_postscript(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow would have Ghostscript run what the file says, where that is installed."""
    programs, path = tmp_path / "bin", tmp_path / name
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexit 0\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # where it was found before
    path.write_bytes(EPS)
    with pytest.raises(DataError, match=rf"{name}: is neither an image nor a slide") as raised:
        read_image(path)
    assert "\n" not in str(raised.value)
    if path.suffix == ".png":
        with pytest.raises(DataError, match=rf"{name}: cannot be read as an image"):
            read_label_map(path, (130, 90))
    assert not (tmp_path / "started").exists()
    if path.suffix == ".eps":  # else this test would not tell
        with pytest.raises(OSError), Image.open(path) as image:
            image.load()
        assert (tmp_path / "started").exists()


def test_a_label_map_of_another_format_than_its_name_says(tmp_path: Path) -> None:
    """JPEG changes numbers."""
    Image.fromarray(picture()[..., 0]).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: cannot be read as an image"):
        read_label_map(tmp_path / "a.png", (90, 130))
