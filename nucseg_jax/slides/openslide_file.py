"""Slides of scanners, by OpenSlide: SVS, NDPI, MRXS, SCN, BIF, VMS, DICOM, …"""

import math
from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray
from tifffile import TiffFileError

from nucseg_jax.errors import DataError, in_short
from nucseg_jax.io.tiff_sizes import check_memory
from nucseg_jax.slides import bounds, colourless, colours, resolution, white
from nucseg_jax.slides.levels import level_of
from nucseg_jax.slides.reader import Level, Resolution
from nucseg_jax.slides.tiff_page import evenly_spaced

_SAMPLED_PX, _SAMPLED_PIECES = 256, 16
"""Side and number of the pieces of the coarsest level that are looked at for colours."""

_BOUNDS = (
    openslide.PROPERTY_NAME_BOUNDS_X,
    openslide.PROPERTY_NAME_BOUNDS_Y,
    openslide.PROPERTY_NAME_BOUNDS_WIDTH,
    openslide.PROPERTY_NAME_BOUNDS_HEIGHT,
)


def is_slide(path: Path) -> bool:
    """Whether OpenSlide knows the scanner. Not so a TIFF of no scanner, which `tiff_file` reads better."""
    return openslide.OpenSlide.detect_format(path) not in (None, "generic-tiff")


def series(path: Path) -> str | None:
    """The unique id of a DICOM series by one of its files; None if that is not known."""
    try:
        with openslide.OpenSlide(path) as slide:
            return slide.properties.get("dicom.SeriesInstanceUID")
    except openslide.OpenSlideError:
        return None


class OpenSlideReader:
    """A slide in any format OpenSlide knows. Its pixels have 8 bits a channel, and lie as in QuPath.

    Args:
      path: of the file.
      given_white: of 16 bits; it does not count here, and a note says so.
      crop: to what was scanned (`bounds`); False: the full canvas.

    Raises:
      DataError: it is damaged, files that belong to it are missing, or it has no colours (`colourless`).
    """

    is_slide = True

    def __init__(self, path: Path, given_white: int | None = None, *, crop: bool = True):
        self._name = str(path)
        try:
            check_memory(path)
            self._slide = openslide.OpenSlide(path)
        except (TiffFileError, openslide.OpenSlideError) as error:
            raise self._damaged(error) from error
        width, height = self._slide.dimensions
        texts = [self._slide.properties.get(name) if crop else None for name in _BOUNDS]
        scanned, said = bounds.crop_of(texts, height, width)
        self.offset = (scanned.top, scanned.left) if scanned else (0, 0)
        canvas = [level_of(down, across, height, width) for across, down in self._slide.level_dimensions]
        self.levels = tuple(_cropped(level, scanned) if scanned else level for level in canvas)
        self.notes = white.unused(given_white) + said
        self.resolution = self._resolution()
        try:
            self._check_colours()
        except DataError:
            self.close()
            raise

    def read(self, level: int, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        try:
            pixels = self._stored(level, top, left, height, width)
        except openslide.OpenSlideError as error:
            raise self._damaged(error) from error
        return colours.on_white(pixels)

    def close(self) -> None:
        self._slide.close()

    def _stored(self, level: int, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """uint8 [height, width, 4] RGBA of a rectangle; what was not scanned is transparent."""
        (y, x), of_level = self.offset, self.levels[level]
        # OpenSlide takes the corner in base pixels by a scale of its own, and is safe for threads.
        scale = self._slide.level_downsamples[level]
        corner = round((left + x / of_level.scale_x) * scale), round((top + y / of_level.scale_y) * scale)
        return np.asarray(self._slide.read_region(corner, level, (width, height)))

    def _check_colours(self) -> None:
        coarsest = self.levels[-1]
        down, across = (-(-side // _SAMPLED_PX) for side in (coarsest.height, coarsest.width))
        sample = []
        try:
            for row, column in evenly_spaced(down, across, _SAMPLED_PIECES):
                top, left = row * _SAMPLED_PX, column * _SAMPLED_PX
                sides = (min(_SAMPLED_PX, coarsest.height - top), min(_SAMPLED_PX, coarsest.width - left))
                pixels = self._stored(len(self.levels) - 1, top, left, *sides).reshape(-1, 4)
                sample.append(pixels[pixels[:, 3] > 0, :3])
        except openslide.OpenSlideError:  # a damaged piece, which is an error where it is read
            return
        colourless.check(np.concatenate(sample), self._name)

    def _resolution(self) -> Resolution:
        properties = self._slide.properties
        try:
            across = float(properties[openslide.PROPERTY_NAME_MPP_X])
            down = float(properties[openslide.PROPERTY_NAME_MPP_Y])
        except (KeyError, ValueError):
            power = properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER)
            return Resolution(
                None, f"only an objective of {power}×" if power else "no resolution in its metadata"
            )
        vendor = properties.get(openslide.PROPERTY_NAME_VENDOR, "slide")
        return resolution.of_pixel(across, down, f"{vendor} metadata", self._name)

    def _damaged(self, error: Exception) -> DataError:
        return DataError(
            f"{self._name}: cannot be read ({in_short(error)}). Copy it again, with the files that "
            "belong to it"
        )


def _cropped(level: Level, scanned: bounds.Crop) -> Level:
    """What was scanned, of a level of the canvas: its whole pixels, of which there is one at least."""
    height = max(1, math.floor(scanned.height / level.scale_y))
    width = max(1, math.floor(scanned.width / level.scale_x))
    return level._replace(height=height, width=width)
