"""16 bits a channel: white by the glass, by the user, or not known and refused."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from nucseg_jax.errors import DataError, UserError
from nucseg_jax.slides import open_slide, read_image
from tests.drawn_tissue import tissue
from tests.slides.pictures import CM, opened

GLASS = (242, 240, 241)
FORMATS = ("a.png", "a.tif", "planes.tif")


def tissue_and_glass(glass: tuple[int, int, int] = GLASS) -> NDArray[np.uint8]:
    picture = np.minimum(tissue(120, 160, 40), 225).astype(np.uint8)
    picture[:40, :50] = glass
    return picture


def tissue_alone() -> NDArray[np.uint8]:
    return np.minimum(tissue(120, 160, 40), (230, 190, 215)).astype(np.uint8)


def deep(picture: NDArray[np.uint8], white: float) -> NDArray[np.uint16]:
    """The picture by a camera that has this value for 255."""
    return np.round(picture / 255 * white).astype(np.uint16)


def write(path: Path, pixels: NDArray[np.uint16]) -> Path:
    if path.suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(pixels))
    elif path.name == "planes.tif":
        planes = np.moveaxis(pixels, 2, 0).copy()
        tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate", rowsperstrip=16)
    else:
        kind = ["unassalpha"] if pixels.shape[2] == 4 else None
        tifffile.imwrite(path, pixels, photometric="rgb", tile=(32, 48), extrasamples=kind)
    return path


def largest_difference(found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> int:
    return int(np.abs(found.astype(int) - expected).max())


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("white", "largest"), [(4095, 0), (16383, 0), (65535, 0), (0.62 * 65535, 2), (9830, 2)]
)
def test_white_by_the_glass(tmp_path: Path, name: str, white: float, largest: int) -> None:
    """The range of a camera comes back exactly; what is no camera's range nearly: glass differs by slide."""
    path = write(tmp_path / name, deep(tissue_and_glass(), white))
    image = read_image(path)
    assert largest_difference(image.pixels, tissue_and_glass()) <= largest
    np.testing.assert_array_equal(opened(path), image.pixels)
    (note,) = image.notes
    share = round(100 * white / 65535)
    assert note.startswith("16 bits a channel, brightest pixels ") and "by the glass" in note
    assert any(f"({share - i}%)" in note for i in range(8)), note


# The darkest and the brightest glass of MoNuSeg's images, and cameras that fill the most of their range.
@pytest.mark.parametrize("glass", [228, 241, 248])
@pytest.mark.parametrize("share", [0.75, 0.78, 0.79, 0.84, 0.9, 0.95, 1.0])
def test_glass_of_real_slides_by_cameras_that_fill_a_part_of_their_range(
    tmp_path: Path, glass: int, share: float
) -> None:
    """What is found is never far from right, whichever side of a threshold the glass lies on."""
    picture = tissue_and_glass((glass, glass - 2, glass - 1))
    found = read_image(write(tmp_path / "a.png", deep(picture, share * 65535))).pixels
    factor = found[50:].mean() / picture[50:].mean()
    assert 0.93 < factor < 1.07
    assert 226 <= found[:40, :50].mean() <= 250
    if share == 1.0 and glass > 230:
        np.testing.assert_array_equal(found, picture)


def test_hot_pixels_do_not_decide(tmp_path: Path) -> None:
    pixels = deep(tissue_and_glass(), 40000)
    pixels[60:63, 70:73] = 65535
    pixels[80, 90] = (65535, 3, 3)
    found = read_image(write(tmp_path / "a.png", pixels)).pixels
    found[60:63, 70:73] = tissue_and_glass()[60:63, 70:73]
    found[80, 90] = tissue_and_glass()[80, 90]
    assert largest_difference(found, tissue_and_glass()) <= 2


def test_fill_does_not_decide(tmp_path: Path) -> None:
    """A stitching program's white is the end of the range, whatever the camera's is."""
    pixels = deep(tissue_and_glass(), 4095)
    pixels[100:] = 65535
    found = read_image(write(tmp_path / "a.tif", pixels)).pixels
    np.testing.assert_array_equal(found[:100], tissue_and_glass()[:100])
    assert (found[100:] == 255).all()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("white", "share"), [(4095, 6), (0.62 * 65535, 56), (9830, 14)])
def test_without_glass_white_is_not_known(tmp_path: Path, name: str, white: float, share: int) -> None:
    path = write(tmp_path / name, deep(tissue_alone(), white))
    for read in (read_image, open_slide):
        found = rf"{name}: 16 bits a channel, brightest pixels [\d,]+ of 65,535 \({share}%\)"
        with pytest.raises(
            DataError, match=rf"{found}, and the image shows no glass.*--white.*8-bit RGB"
        ) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_picture_that_fills_the_range_needs_no_glass(tmp_path: Path) -> None:
    image = read_image(write(tmp_path / "a.png", deep(tissue_alone(), 65535)))
    np.testing.assert_array_equal(image.pixels, tissue_alone())
    assert "white is 65,535, the end of the range" in image.notes[0]


@pytest.mark.parametrize("name", FORMATS)
def test_white_as_the_user_says(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, deep(tissue_alone(), 4095))
    image = read_image(path, white=4095)
    np.testing.assert_array_equal(image.pixels, tissue_alone())
    assert image.notes[0].endswith("white is 4,095, as given")
    with open_slide(path, 0.5, white=8190) as slide:  # the user's word counts
        assert largest_difference(slide.region(0, 0, *slide.size, 0.5), tissue_alone() // 2) <= 1


@pytest.mark.parametrize("name", FORMATS)
def test_a_white_that_makes_all_white(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, deep(tissue_alone(), 65535))
    with pytest.raises(DataError, match=rf"{name}: 16 bits .*which --white 4095 would make all white"):
        read_image(path, white=4095)


@pytest.mark.parametrize("white", [0, -1, 65536])
def test_a_white_that_16_bits_do_not_have(tmp_path: Path, white: int) -> None:
    path = write(tmp_path / "a.png", deep(tissue_and_glass(), 65535))
    with pytest.raises(UserError, match=f"--white {white}: is not within 1 … 65535"):
        open_slide(path, white=white)


def test_white_does_not_count_in_eight_bits(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", tissue_and_glass())
    image = read_image(path, white=4095)
    np.testing.assert_array_equal(image.pixels, tissue_and_glass())
    assert image.notes == ("8 bits a channel, so --white 4095 does not count",)


def test_one_white_for_all_levels_and_regions(tmp_path: Path) -> None:
    """The part without glass, too, and the level at which it is no longer to be seen."""
    picture = tissue_and_glass()
    pixels = deep(picture, 40000)
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(pixels, photometric="rgb", tile=(32, 32), subifds=0, **CM)
        writer.write(pixels[::2, ::2], photometric="rgb", tile=(32, 32), subfiletype=1)
    with open_slide(path) as slide:
        base = slide.region(0, 0, 120, 160, 0.5)
        assert largest_difference(base, picture) <= 2
        np.testing.assert_array_equal(slide.region(50, 60, 40, 30, 0.5), base[50:90, 60:90])
        np.testing.assert_array_equal(slide.region(0, 0, 60, 80, 1.0), base[::2, ::2])


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_transparent_pixels_say_nothing_of_white(tmp_path: Path, name: str) -> None:
    pixels = np.dstack([deep(tissue_and_glass(), 4095), np.full((120, 160), 65535, np.uint16)])
    pixels[90:, :, :3] = 50000
    pixels[90:, :, 3] = 0
    image = read_image(write(tmp_path / name, pixels))
    np.testing.assert_array_equal(image.pixels[:90], tissue_and_glass()[:90])
    assert (image.pixels[90:] == 255).all()
    assert "white is 4,095" in image.notes[0] and image.notes[1] == "transparency is laid on white"


@pytest.mark.parametrize("cut", [0.5, 0.9])
def test_damaged_files(tmp_path: Path, cut: float) -> None:
    path = write(tmp_path / "a.png", deep(tissue_and_glass(), 65535))
    path.write_bytes(path.read_bytes()[: int(cut * path.stat().st_size)])
    with pytest.raises(DataError, match=r"a\.png: .*damaged .* again"):
        read_image(path)


def test_glass_is_looked_for_all_over_a_large_level(tmp_path: Path) -> None:
    """64 × 64 pieces, of which some are looked at: not those of one column."""
    picture = np.tile(np.array((230, 170, 190), np.uint8), (1024, 1024, 1))
    picture[:, 600:800] = GLASS
    tifffile.imwrite(tmp_path / "a.tif", deep(picture, 40000), photometric="rgb", tile=(16, 16))
    image = read_image(tmp_path / "a.tif")
    assert largest_difference(image.pixels, picture) <= 2 and "by the glass" in image.notes[0]
