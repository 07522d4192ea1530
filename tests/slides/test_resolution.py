"""The resolution: read from tags and metadata, with their units."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucseg_jax.errors import DataError
from nucseg_jax.slides import open_slide, read_image, resolution
from tests.slides.pictures import picture, tiled


def test_dots_of_a_printer_are_no_resolution(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.jpg", dpi=(300, 300))
    with open_slide(tmp_path / "a.jpg", assumed_mpp=0.25) as slide:
        assert slide.mpp_source == "assumed: 300 dots an inch is for screens and printers"


def ome(side: float, unit: str) -> dict[str, Any]:
    sizes = {f"PhysicalSize{axis}": side for axis in "XY"}
    units = {f"PhysicalSize{axis}Unit": unit for axis in "XY"}
    return {"ome": True, "metadata": {"axes": "YXS", **sizes, **units}}


IMAGEJ = {
    "resolution": (2, 2),
    "resolutionunit": "NONE",
    "description": "ImageJ=1.54f\nunit=micron\n",
    "metadata": None,
}
TAGS = "TIFF resolution tags"


@pytest.mark.parametrize(
    ("options", "mpp", "source"),
    [
        ({"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}, 0.5, TAGS),
        ({"resolution": (50800, 50800), "resolutionunit": "INCH"}, 0.5, TAGS),
        (ome(0.5, "µm"), 0.5, "OME PhysicalSize"),
        (ome(500, "nm"), 0.5, "OME PhysicalSize"),
        (IMAGEJ, 0.5, "ImageJ metadata"),
        ({"resolution": (20000, 20000), "resolutionunit": "NONE"}, None, "its resolution tags have no unit"),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None, "300 dots an inch is for screens and"),
        ({}, None, "its resolution tags have no unit"),
    ],
)
def test_tags_of_tiffs(tmp_path: Path, options: dict[str, Any], mpp: float | None, source: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", picture(), photometric="rgb", **options)
    found = read_image(tmp_path / "a.tif").resolution
    assert found.mpp == (None if mpp is None else pytest.approx(mpp)) and found.source.startswith(source)


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


@pytest.fixture(params=["a.png", "a.tif", "a.ome.tif"])
def misstated(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A file whose resolution cannot be, and what is said of it."""
    path = tmp_path / request.param
    if path.suffix == ".png":
        Image.fromarray(picture()).save(path, dpi=(100_000, 50_000))
        return path, r"0\.254 × 0\.508 µm .*not square"
    if path.name == "a.tif":
        return tiled(path, picture(), resolution=(20000, 40000)), r"0\.5 × 0\.25 µm .*not square"
    tifffile.imwrite(path, picture(), photometric="rgb", metadata={"PhysicalSizeX": 0.5})
    path.write_bytes(path.read_bytes().replace(b"</Image>", b"</Imago>"))
    return path, "OME metadata are no XML"


def test_a_wrong_resolution_counts_only_where_the_resolution_does(misstated: tuple[Path, str]) -> None:
    path, message = misstated
    np.testing.assert_array_equal(read_image(path).pixels, picture())
    with open_slide(path, 0.25) as slide:
        assert slide.mpp == 0.25 and slide.mpp_source == "given"
    for assumed in (None, 0.25):
        with pytest.raises(DataError, match=rf"{path.name}: .*{message}.*--mpp") as caught:
            open_slide(path, assumed_mpp=assumed)
        assert str(caught.value).count(path.name) == 1
