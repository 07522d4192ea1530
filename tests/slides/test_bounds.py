"""Slides on a larger canvas: what was scanned is the slide, and coordinates begin there, as in QuPath."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest

from nucseg_jax.errors import DataError
from nucseg_jax.slides import open_slide, read_image
from nucseg_jax.slides.bounds import crop_of
from nucseg_jax.slides.openslide_file import OpenSlideReader
from tests.slides.pictures import aperio, halved, leica, picture

HEIGHT, WIDTH = 200, 300
SIDES = ("x", "y", "width", "height")


@pytest.mark.parametrize(
    ("texts", "crop"),
    [
        (("10", "20", "100", "50"), (10, 20, 100, 50)),
        (("0", "0", "100", "50"), (0, 0, 100, 50)),
        (("10", "0", "290", "200"), (10, 0, 290, 200)),  # QuPath's coordinates begin at x 10 here, too
        (("10", "20", "300", "200"), (10, 20, 290, 180)),
        (("299", "199", "5", "5"), (299, 199, 1, 1)),
        (("0", "0", "300", "200"), None),
        (("10", "20", "100", None), None),
        ((None, None, None, None), None),
        (("-1", "0", "100", "50"), None),
        (("0", "-5", "300", "200"), None),
        (("10", "20", "0", "50"), None),
        (("10", "20", "100", "-50"), None),
        (("300", "20", "100", "50"), None),
        (("1.5", "20", "100", "50"), None),
        (("10", "20", "", "50"), None),
        (("10", "20", "nan", "50"), None),
        (("10", "20", "9" * 5000, "50"), None),
    ],
)
def test_what_the_bounds_say(texts: tuple[str | None, ...], crop: tuple[int, ...] | None) -> None:
    found, notes = crop_of(texts, HEIGHT, WIDTH)
    assert found == crop
    is_silent = None in texts or texts == ("0", "0", "300", "200")
    assert len(notes) == (0 if is_silent else 1)
    if is_silent:
        return
    if crop is None:
        assert notes[0].startswith("not cropped to what was scanned: its bounds (x, y, width, height: ")
        assert "Coordinates are those of the full canvas" in notes[0] and len(notes[0]) < 500
    else:
        assert f"{crop[3]}×{crop[2]} of 200×300 pixels, from x {crop[0]}, y {crop[1]}" in notes[0]
        assert notes[0].endswith("reach out of them") == (texts[2:] != (str(crop[2]), str(crop[3])))


class SaysBounds(openslide.OpenSlide):
    """A slide of OpenSlide with properties that its file does not have."""

    said: Mapping[str, str]

    @property
    def properties(self) -> Any:
        return {**super().properties, **self.said}


def saying(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    """Make OpenSlide say bounds: x, y, width, height."""
    said = {f"openslide.bounds-{side}": value for side, value in zip(SIDES, values, strict=False)}
    monkeypatch.setattr(SaysBounds, "said", said, raising=False)
    monkeypatch.setattr(openslide, "OpenSlide", SaysBounds)


def test_a_slide_with_bounds_is_its_scanned_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(HEIGHT, WIDTH)
    path = aperio(tmp_path / "a.svs", image, 3)
    saying(monkeypatch, "40", "12", "160", "100")
    part = image[12:112, 40:200]
    with open_slide(path) as slide:
        assert (slide.size, slide.offset) == ((100, 160), (12, 40))
        assert len(slide.notes) == 1 and "100×160 of 200×300 pixels, from x 40, y 12" in slide.notes[0]
        for level in range(3):
            mpp, small = 0.25 * 2**level, halved(part, level)
            np.testing.assert_array_equal(slide.region(0, 0, *small.shape[:2], mpp), small)
            np.testing.assert_array_equal(slide.region(3, 5, 9, 7, mpp), small[3:12, 5:12])
        outside = slide.region(-4, 155, 10, 10, 0.25)
        assert (outside[:4] == 255).all() and (outside[:, 5:] == 255).all()
        np.testing.assert_array_equal(outside[4:, :5], part[:6, 155:])
        np.testing.assert_array_equal(slide.thumbnail(200), part)
        np.testing.assert_array_equal(slide.thumbnail(40), halved(part, 2))
    np.testing.assert_array_equal(read_image(path).pixels, part)
    assert read_image(path).notes == slide.notes
    read_image(path, most_pixels=100 * 160)
    with pytest.raises(DataError, match="200×300 pixels are more"):
        read_image(path, most_pixels=100 * 160, crop=False)
    with open_slide(path, crop=False) as slide:
        assert (slide.size, slide.offset, slide.notes) == ((HEIGHT, WIDTH), (0, 0), ())
        np.testing.assert_array_equal(slide.region(0, 0, HEIGHT, WIDTH, 0.25), image)


@pytest.mark.parametrize("values", [("-3", "0", "50", "50"), ("a", "0", "50", "50")])
def test_bounds_that_cannot_be_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: tuple[str, ...]
) -> None:
    image = picture(HEIGHT, WIDTH)
    path = aperio(tmp_path / "a.svs", image, 1)
    saying(monkeypatch, *values)
    with open_slide(path) as slide:
        assert (slide.size, slide.offset) == ((HEIGHT, WIDTH), (0, 0))
        assert [note.partition(":")[0] for note in slide.notes] == ["not cropped to what was scanned"]
    saying(monkeypatch, *values[:3])  # QuPath does not crop without all four
    with open_slide(path) as slide:
        assert (slide.size, slide.notes) == ((HEIGHT, WIDTH), ())


@pytest.mark.parametrize(("top", "left"), [(0, 0), (64, 96), (333, 221)])
def test_a_scanners_own_bounds(tmp_path: Path, top: int, left: int) -> None:
    """By OpenSlide itself; the canvas's levels begin between pixels of those that were scanned."""
    image = picture(HEIGHT, WIDTH)
    path = leica(tmp_path / "a.scn", image, 3, (900, 1100, top, left))
    assert openslide.OpenSlide.detect_format(path) == "leica"
    with open_slide(path) as slide:
        assert (slide.size, slide.offset, slide.mpp) == ((HEIGHT, WIDTH), (top, left), 0.25)
        for level in range(3):
            found = slide.region(0, 0, HEIGHT // 2**level, WIDTH // 2**level, 0.25 * 2**level)
            assert np.abs(found.astype(int) - halved(image, level)).max() <= 1  # OpenSlide's rounding
        assert np.abs(slide.thumbnail(75).astype(int) - halved(image, 2)).max() <= 1
    with open_slide(path, crop=False) as slide:
        assert slide.size == (900, 1100)
        np.testing.assert_array_equal(slide.region(top, left, HEIGHT, WIDTH, 0.25), image)
        assert (slide.region(top + HEIGHT, 0, 100, 1100, 0.25) == 255).all()


def test_a_part_smaller_than_a_pixel_of_a_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = aperio(tmp_path / "a.svs", picture(HEIGHT, WIDTH), 3)
    saying(monkeypatch, "10", "10", "3", "2")
    reader = OpenSlideReader(path)
    assert [level[:2] for level in reader.levels] == [(2, 3), (1, 1), (1, 1)]
    assert reader.read(2, 0, 0, 1, 1).shape == (1, 1, 3)
    reader.close()
