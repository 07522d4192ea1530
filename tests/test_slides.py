"""Slides and images: the right pixels at the right resolution, or an error that says why not."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nucseg_jax.errors import DataError, UserError
from nucseg_jax.slides import colours, image_file, open_slide, resolution, slide_of_array, tiff_file
from nucseg_jax.slides.image_file import read_resolution

DOTS_AN_INCH = 25400 / 0.5  # 0.5 µm


def picture(height: int = 90, width: int = 130) -> NDArray[np.uint8]:
    """Smooth colours, so that JPEG and scaling change little."""
    y, x = np.mgrid[:height, :width]
    return np.stack([120 + 100 * np.sin(y / 20), 255 - y, 40 + x], axis=-1).clip(0, 255).astype(np.uint8)


def tiled(path: Path, image: NDArray, **options) -> Path:
    tags = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER", "photometric": "rgb"}
    tifffile.imwrite(path, image, tile=(32, 48), **{**tags, **options})
    return path


def pyramid(path: Path, image: NDArray[np.uint8], levels: int = 3, **tags) -> Path:
    """Pages one after the other, each half of the one before, as libvips writes them."""
    with tifffile.TiffWriter(path) as writer:
        for level in range(levels):
            small = np.asarray(Image.fromarray(image).reduce(2**level)) if level else image
            options = dict(tags) if level == 0 else {}
            writer.write(small, tile=(32, 32), photometric="rgb", subfiletype=int(level > 0), **options)
    return path


CM = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}


def write(path: Path, image: NDArray[np.uint8]) -> Path:
    """In the format that the name asks for, with 0.5 µm a pixel."""
    if path.name == "plain.tif":
        tifffile.imwrite(path, image, photometric="rgb", rowsperstrip=7, **CM)
    elif path.name == "planes.tif":
        tiled(path, np.moveaxis(image, 2, 0).copy(), planarconfig="separate")
    elif path.name == "imagej.tif":
        tifffile.imwrite(path, image, imagej=True, resolution=(2.0, 2.0), metadata={"unit": "um"})
    elif path.name == "a.ome.tif":
        ome = {"axes": "YXS", "PhysicalSizeX": 500, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5}
        tifffile.imwrite(path, image, tile=(32, 32), photometric="rgb", metadata=ome)
    elif path.name == "pyramid.tif":
        pyramid(path, image, **CM)
    elif path.suffix == ".tif":
        tiled(path, image, compression=path.stem)
    else:
        Image.fromarray(image).save(path, dpi=(DOTS_AN_INCH, DOTS_AN_INCH))
    return path


FILES = ("plain.tif", "planes.tif", "imagej.tif", "a.ome.tif", "pyramid.tif", "zlib.tif", "lzw.tif", "a.png")


@pytest.mark.parametrize("name", FILES)
def test_lossless_formats_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    image = picture()
    with open_slide(write(tmp_path / name, image)) as slide:
        assert slide.size == (90, 130)
        assert slide.mpp == pytest.approx(0.5, rel=1e-3)  # PNG counts in whole pixels a metre
        mpp = slide.mpp
        np.testing.assert_array_equal(slide.region(0, 0, 90, 130, mpp), image)
        np.testing.assert_array_equal(slide.region(31, 40, 20, 60, mpp), image[31:51, 40:100])
        outside = slide.region(-5, 120, 20, 20, mpp)
        np.testing.assert_array_equal(outside[5:, :10], image[:15, 120:])
        assert (outside[:5] == 255).all() and (outside[:, 10:] == 255).all()
        assert (slide.region(500, 0, 4, 4, mpp) == 255).all()


@pytest.mark.parametrize("name", ["a.jpg", "jpeg.tif", "jpeg2000.tif", "webp.tif"])
def test_lossy_formats_come_back_nearly(tmp_path: Path, name: str) -> None:
    with open_slide(write(tmp_path / name, picture())) as slide:
        assert slide.mpp == pytest.approx(0.5, rel=1e-2)  # JPEG counts in whole dots an inch
        difference = slide.region(0, 0, 90, 130, slide.mpp).astype(int) - picture()
        assert np.abs(difference).mean() < 4


def test_the_real_slide() -> None:
    path = Path(__file__).parents[2] / "shared/data/slides/CMU-1-Small-Region.svs"
    if not path.exists():
        pytest.skip("no shared/ beside this checkout")
    with open_slide(path) as slide:
        assert (slide.size, slide.mpp, slide.mpp_source) == ((2967, 2220), 0.499, "aperio metadata")
        base = slide.region(1000, 700, 64, 64, 0.499)
        larger = slide.region(2000, 1400, 128, 128, 0.2495)
        assert np.abs(base.mean((0, 1)) - larger.mean((0, 1))).max() < 2
        assert slide.thumbnail(200).shape == (200, 150, 3)


@settings(max_examples=25)
@given(st.data())
def test_a_region_does_not_depend_on_what_is_read_with_it(data: st.DataObject) -> None:
    mpp = data.draw(st.floats(0.1, 2.0))
    image = np.random.default_rng(0).integers(0, 256, (80, 60, 3), np.uint8)
    slide = slide_of_array(image, 0.5)
    height, width = (max(1, round(side * 0.5 / mpp)) for side in (80, 60))
    whole = slide.region(0, 0, height, width, mpp)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    rows, columns = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    part = slide.region(top, left, rows, columns, mpp)
    # Pillow rounds twice, along each axis once.
    assert np.abs(part.astype(int) - whole[top : top + rows, left : left + columns]).max() <= 2


def test_scaling_is_that_of_the_training_images() -> None:
    image = np.random.default_rng(0).integers(0, 256, (125, 125, 3), np.uint8)
    found = slide_of_array(image, 0.25).region(0, 0, 128, 128, 0.25 * 125 / 128)
    expected = np.asarray(Image.fromarray(image).resize((128, 128), Image.Resampling.BILINEAR))
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_the_coarsest_level_that_is_fine_enough_is_read(tmp_path: Path) -> None:
    image = picture(256, 192)
    with open_slide(pyramid(tmp_path / "p.tif", image, **CM)) as slide:
        assert slide.is_slide and [level.scale for level in slide._reader.levels] == [1, 2, 4]
        assert [slide._level(scale) for scale in (0.5, 1, 1.9, 2, 3, 4, 9)] == [0, 0, 0, 1, 1, 2, 2]
        half = np.asarray(Image.fromarray(image).reduce(2))
        np.testing.assert_array_equal(slide.region(10, 20, 30, 40, 1.0), half[10:40, 20:60])
        for mpp in (0.25, 0.5, 0.8, 1.0, 1.7):
            found = slide.region(round(40 / mpp), round(30 / mpp), 20, 20, mpp).astype(int)
            place = slice(80, 80 + round(40 * mpp)), slice(60, 60 + round(40 * mpp))
            assert np.abs(found.mean((0, 1)) - image[place].mean((0, 1))).max() < 6


def test_thumbnails_of_one_large_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nucseg_jax.slides._BLOCK_PX", 64)  # in many pieces
    image = picture(300, 210)
    with open_slide(tiled(tmp_path / "a.tif", image)) as slide:
        small = slide.thumbnail(100)
        assert small.shape == (100, 70, 3)
        expected = np.asarray(Image.fromarray(image).resize((70, 100), Image.Resampling.BILINEAR))
        assert np.abs(small.astype(int) - expected).mean() < 1
        np.testing.assert_array_equal(slide.thumbnail(1000), image)


def test_large_tiffs_are_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    original = tiff_file.TiffReader._decoded
    monkeypatch.setattr(
        tiff_file.TiffReader,
        "_decoded",
        lambda self, page, index: decoded.append(index) or original(self, page, index),
    )
    with open_slide(tiled(tmp_path / "a.tif", picture(320, 480))) as slide:
        slide.region(40, 60, 10, 10, slide.mpp)
        assert decoded == [11]  # of 10 × 10
        slide.region(41, 61, 10, 10, slide.mpp)
        assert decoded == [11]  # kept
        monkeypatch.setattr(tiff_file, "CACHE_BYTES", 32 * 48 * 3)
        slide.region(0, 0, 320, 480, slide.mpp)
        assert len(slide._reader._cache) == 1


def test_many_threads_read_the_same_file(tmp_path: Path) -> None:
    image = picture(320, 480)
    barrier = threading.Barrier(4)
    with open_slide(tiled(tmp_path / "a.tif", image, compression="zlib")) as slide:

        def read(k: int) -> bool:
            if k < 4:
                barrier.wait()
            top, left = (37 * k) % 300, (91 * k) % 460
            return np.array_equal(
                slide.region(top, left, 20, 20, 0.5), image[top : top + 20, left : left + 20]
            )

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(read, range(60)))


# Kinds of pixels.


def opened(path: Path) -> NDArray[np.uint8]:
    with open_slide(path, 0.5) as slide:
        return slide.region(0, 0, *slide.size, 0.5)


def transparent() -> NDArray[np.uint8]:
    alpha = np.full((90, 130, 1), 255, np.uint8)
    alpha[:, 50:] = 0
    alpha[:, 100:] = 128
    return np.concatenate([picture(), alpha], axis=2)


@pytest.mark.parametrize("kind", ["a.png", "a.tif"])
def test_transparency_is_laid_on_white(tmp_path: Path, kind: str) -> None:
    if kind == "a.png":
        Image.fromarray(transparent()).save(tmp_path / kind)
    else:
        tifffile.imwrite(tmp_path / kind, transparent(), photometric="rgb", extrasamples=["unassalpha"])
    found, image = opened(tmp_path / kind), picture()
    np.testing.assert_array_equal(found[:, :50], image[:, :50])
    assert (found[:, 50:100] == 255).all()
    assert np.abs(found[:, 100:].astype(int) - (image[:, 100:].astype(int) + 255) // 2).max() <= 1


def test_premultiplied_transparency(tmp_path: Path) -> None:
    pixels = transparent()
    pixels[..., :3] = pixels[..., :3] * (pixels[..., 3:] / 255)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["assocalpha"])
    found, image = opened(tmp_path / "a.tif"), picture()
    assert (found[:, 50:100] == 255).all()
    assert np.abs(found[:, 100:].astype(int) - (image[:, 100:].astype(int) + 255) // 2).max() <= 2


@pytest.mark.parametrize("kind", ["a.png", "a.bmp", "a.tif"])
def test_palettes_become_colours(tmp_path: Path, kind: str) -> None:
    indexed = Image.fromarray(picture()).quantize(64)
    indexed.save(tmp_path / kind)
    np.testing.assert_array_equal(opened(tmp_path / kind), np.asarray(indexed.convert("RGB")))


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    deep = picture().astype(np.uint16) * 257
    tiled(tmp_path / "a.tif", deep)
    np.testing.assert_array_equal(opened(tmp_path / "a.tif"), picture())
    tiled(tmp_path / "b.tif", deep // 16)
    with pytest.raises(DataError, match=r"b\.tif: has 16 bits .* 6% .*12-bit"):
        opened(tmp_path / "b.tif")


def grey(path: Path) -> None:
    Image.fromarray(picture()[..., 0]).save(path)


REFUSED = {
    "grey.png": (grey, "greyscale"),
    "grey.tif": (lambda path: tifffile.imwrite(path, picture()[..., 0]), "greyscale"),
    "grey16.png": (
        lambda path: Image.fromarray(picture()[..., 0].astype(np.uint16)).save(path),
        "mode I;16",
    ),
    "black.png": (lambda path: Image.fromarray(picture()[..., 0] > 9).save(path), "black and white"),
    "cmyk.jpg": (lambda path: Image.fromarray(picture()).convert("CMYK").save(path), "CMYK"),
    "channels.ome.tif": (
        lambda path: tifffile.imwrite(
            path, np.zeros((3, 40, 50), np.uint8), photometric="minisblack", metadata={"axes": "CYX"}
        ),
        "a TIFF with 3 channels",
    ),
    "stack.tif": (
        lambda path: tifffile.imwrite(path, np.zeros((5, 40, 50, 3), np.uint8), photometric="rgb"),
        "a TIFF with 5",
    ),
    "float.tif": (
        lambda path: tifffile.imwrite(path, picture().astype(np.float32), photometric="rgb"),
        "float32 RGB",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_colour_image_is_refused_by_name(tmp_path: Path, name: str) -> None:
    make, message = REFUSED[name]
    make(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name}: .*{message}.*8-bit"):
        opened(tmp_path / name)


def test_several_images_in_a_file(tmp_path: Path) -> None:
    frames = [Image.fromarray(picture()), Image.fromarray(255 - picture())]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="holds 2 images"):
        opened(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.svs"])
def test_damaged_and_missing_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(DataError, match=rf"{name}: no such file"):
        open_slide(path)
    with pytest.raises(DataError, match="is a folder"):
        open_slide(tmp_path)
    path.write_bytes(b"no image at all")
    with pytest.raises(DataError, match=rf"{name}: "):
        open_slide(path)
    if name == "a.svs":
        return
    write(path if name == "a.png" else tmp_path / "zlib.tif", picture())
    path = path if name == "a.png" else tmp_path / "zlib.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"{path.name}: "):
        opened(path)


def test_images_that_would_not_fit_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_file, "MOST_PIXELS", 1000)
    Image.fromarray(picture()).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: 90×130 pixels .* tiled TIFF"):
        opened(tmp_path / "a.png")
    monkeypatch.setattr(tiff_file, "_MOST_PIECE_BYTES", 1000)
    tifffile.imwrite(tmp_path / "a.tif", picture(), photometric="rgb", rowsperstrip=90)
    with pytest.raises(DataError, match=r"a\.tif: lies in pieces .* tiled TIFF"):
        opened(tmp_path / "a.tif")


# Resolution.


def test_images_without_resolution(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png") as slide:
        assert slide.mpp is None and slide.mpp_source == "no resolution in the file"
        with pytest.raises(UserError, match=r"a\.png: has no resolution .*--mpp"):
            slide.region(0, 0, 5, 5, 0.5)
        assert slide.thumbnail(10).shape == (7, 10, 3)
    with open_slide(tmp_path / "a.png", assumed_mpp=0.25) as slide:
        assert (slide.mpp, slide.mpp_source) == (0.25, "assumed: no resolution in the file")
    with open_slide(tmp_path / "a.png", 0.3, assumed_mpp=0.25) as slide:
        assert (slide.mpp, slide.mpp_source) == (0.3, "given")


def test_dots_of_a_printer_are_no_resolution(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.jpg", dpi=(300, 300))
    with open_slide(tmp_path / "a.jpg", assumed_mpp=0.25) as slide:
        assert slide.mpp_source == "assumed: 300 dots an inch is for screens and printers"


def ome(side: float, unit: str) -> dict[str, Any]:
    sizes = {f"PhysicalSize{axis}": side for axis in "XY"}
    units = {f"PhysicalSize{axis}Unit": unit for axis in "XY"}
    return {"ome": True, "metadata": {"axes": "YXS", **sizes, **units}}


STATED: dict[str, dict[str, Any]] = {
    "centimetres.tif": {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"},
    "inches.tif": {"resolution": (50800, 50800), "resolutionunit": "INCH"},
    "ome.tif": ome(0.5, "µm"),
    "ome_nm.tif": ome(500, "nm"),
    "imagej.tif": {
        "resolution": (2, 2),
        "resolutionunit": "NONE",
        "description": "ImageJ=1.54f\nunit=micron\n",
        "metadata": None,
    },
    "no_unit.tif": {"resolution": (20000, 20000), "resolutionunit": "NONE"},
    "printer.tif": {"resolution": (300, 300), "resolutionunit": "INCH"},
    "none.tif": {},
}


@pytest.mark.parametrize("name", STATED)
def test_pillow_alone_reads_the_same_resolution(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    tifffile.imwrite(path, picture(), photometric="rgb", **STATED[name])
    reader = tiff_file.TiffReader(path)
    reader.close()
    found = read_resolution(path)
    expected = None if name in ("no_unit.tif", "printer.tif", "none.tif") else pytest.approx(0.5)
    assert found.mpp == expected and found.source == reader.resolution.source
    assert found.mpp == pytest.approx(reader.resolution.mpp)


def test_a_slide_without_resolution_is_refused(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "a.tif", picture(256, 256))
    with pytest.raises(DataError, match=r"a\.tif: no resolution .*--mpp: 40× is about 0\.25"):
        open_slide(path, assumed_mpp=0.25)
    open_slide(path, 0.5).close()


@pytest.mark.parametrize(("per_cm", "message"), [(5000, "2 µm .*few pixels"), (5e6, "0.002 µm .*unit")])
def test_a_resolution_far_off_is_refused(tmp_path: Path, per_cm: float, message: str) -> None:
    path = tiled(tmp_path / "a.tif", picture(), resolution=(per_cm, per_cm))
    with pytest.raises(DataError, match=rf"a\.tif: {message}.*--mpp"):
        open_slide(path)
    with open_slide(path, 0.25) as slide:  # as the user knows better
        assert slide.mpp == 0.25


@pytest.mark.parametrize("mpp", [0.0, -1.0, 2.0, float("nan"), 250.0])
def test_a_wrong_mpp(tmp_path: Path, mpp: float) -> None:
    with pytest.raises(UserError, match="--mpp"):
        open_slide(tmp_path / "a.png", mpp)


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    path = tiled(tmp_path / "a.tif", picture(), resolution=(20000, 40000))
    with pytest.raises(DataError, match=r"0\.5 × 0\.25 µm .*not square"):
        open_slide(path)
    nearly = resolution.of_pixel(0.2500, 0.2502, "metadata", "a.svs")
    assert nearly.mpp == pytest.approx(0.2501)


@pytest.mark.parametrize(
    ("attributes", "mpp"),
    [
        ('PhysicalSizeX="0.5" PhysicalSizeY="0.5"', 0.5),
        ('PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="2.5e-4" PhysicalSizeYUnit="mm"', 0.25),
        ('PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1" PhysicalSizeYUnit="pixel"', None),
        ("", None),
        ('PhysicalSizeX="0" PhysicalSizeY="0"', None),
    ],
)
def test_units_of_ome(attributes: str, mpp: float | None) -> None:
    xml = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image><Pixels {}/></Image></OME>'
    found = resolution.of_ome(xml.format(attributes), "a.ome.tif")
    assert found.mpp == (None if mpp is None else pytest.approx(mpp))
    with pytest.raises(DataError, match="no XML"):
        resolution.of_ome("<OME", "a.ome.tif")


def test_orientation_and_other_pages_are_left_alone(tmp_path: Path) -> None:
    """Coordinates are those of the file's pixels, as other tools count them."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(picture()).save(tmp_path / "a.png", exif=exif)
    assert opened(tmp_path / "a.png").shape == (90, 130, 3)


def test_laying_on_white_keeps_what_is_opaque() -> None:
    pixels = np.dstack([picture(), np.full((90, 130), 255, np.uint8)])
    np.testing.assert_array_equal(colours.on_white(pixels), picture())


def test_a_drawing_of_one_colour_without_pixels(tmp_path: Path) -> None:
    drawing = Image.new("RGB", (20, 10), (1, 2, 3))
    ImageDraw.Draw(drawing).rectangle((0, 0, 9, 9), fill=(90, 80, 70))
    drawing.save(tmp_path / "a.png", transparency=(1, 2, 3))
    found = opened(tmp_path / "a.png")
    assert (found[:, :10] == (90, 80, 70)).all() and (found[:, 10:] == 255).all()
