"""Slides of scanners, by OpenSlide: SVS, NDPI, MRXS, SCN, BIF, VMS, DICOM, …"""

from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray

from nucseg_jax.errors import DataError, in_short
from nucseg_jax.slides import colours, resolution, white
from nucseg_jax.slides.reader import Level, Resolution


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

    Raises:
      DataError: it is damaged, or files that belong to it are missing.
    """

    is_slide = True

    def __init__(self, path: Path, given_white: int | None = None):
        self._name = str(path)
        self.notes = white.unused(given_white)
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideError as error:
            raise self._damaged(error) from error
        self.levels = tuple(
            Level(height, width, max(1.0, scale))
            for (width, height), scale in zip(
                self._slide.level_dimensions, self._slide.level_downsamples, strict=True
            )
        )
        self.resolution = self._resolution()

    def read(self, level: int, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        scale = self.levels[level].scale
        try:
            # OpenSlide takes the corner in base pixels, and is safe for threads.
            pixels = self._slide.read_region(
                (round(left * scale), round(top * scale)), level, (width, height)
            )
        except openslide.OpenSlideError as error:
            raise self._damaged(error) from error
        return colours.on_white(np.asarray(pixels))  # what was not scanned is transparent

    def close(self) -> None:
        self._slide.close()

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
