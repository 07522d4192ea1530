"""Where nuclei are many: a heat map of nuclei per mm², as numbers and as a picture."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from nucseg_jax.export.batches import Batch
from nucseg_jax.export.label_map import resolution
from nucseg_jax.export.sinks import Sink
from nucseg_jax.io.disk import named_when_full
from nucseg_jax.io.files import appearing
from nucseg_jax.nuclei import Frame

CELL_UM = 50.0
"""Side of a square that nuclei are counted in; its own noise is 1/sqrt(count), 30 % at 5,000 per mm²."""

SMOOTHING_UM = 50.0
"""Standard deviation of the Gaussian that lessens this noise."""

# Pixels of the heat map in the picture; a square is a whole number of them if it can be.
_LEAST_SIDE, _MOST_SIDE = 768, 1536


class DensityMap(Sink):
    """Nuclei per mm² of tissue: a float32 TIFF, and a PNG of the same with a scale.

    Nuclei are counted by their centroids in squares of `CELL_UM`. Both the counts and the areas of tissue are
    smoothed by a Gaussian, and then divided: so the density is not lower at the edge of the tissue or of the
    slide. Squares without tissue are NaN.

    Args:
        tiff: path of the numbers; the TIFF says the size of its squares.
        png: path of the picture.
        frame: the slide.
        tissue: bool `[h, w]`, the whole slide, True = tissue, at any resolution; None: all of it is.

    Raises:
        ValueError: tissue is no such mask.
    """

    def __init__(
        self, tiff: Path, png: Path, frame: Frame, *, tissue: NDArray[np.bool_] | None = None
    ) -> None:
        super().__init__(frame)
        self._path, self._png = tiff, png
        self._temporary: tuple[Path, Path]
        height, width = frame.network_size
        self._cell_px = CELL_UM / frame.network_mpp
        cells = math.ceil(height / self._cell_px), math.ceil(width / self._cell_px)
        self._areas_mm2 = _areas_px(frame.network_size, cells, self._cell_px, tissue)
        self._areas_mm2 *= (frame.network_mpp / 1000) ** 2
        self._counts = np.zeros(cells, dtype=np.int64)

    def _open(self, stack: ExitStack) -> None:
        tiff, png = (stack.enter_context(appearing(path)) for path in (self._path, self._png))
        self._temporary = tiff, png

    def _write(self, batch: Batch) -> None:
        x, y = batch.centroids
        row, column = (y / self._cell_px).astype(np.int64), (x / self._cell_px).astype(np.int64)
        np.add.at(self._counts, (row, column), 1)

    def _finish(self) -> None:
        tiff, png = self._temporary
        density = _density(self._counts, self._areas_mm2)
        import tifffile

        tifffile.imwrite(
            tiff,
            density,
            photometric="minisblack",
            description=f"nuclei per square millimetre of tissue, in squares of {CELL_UM:g} micrometres",
            metadata=None,
            software="nucseg_jax",
            **resolution(CELL_UM),
        )
        height, width = self._frame.network_size
        extent = height / self._cell_px, width / self._cell_px  # the last squares may reach over the edge
        picture = draw(density, extent=extent)
        with named_when_full(self._png):
            picture.save(png, format="PNG")


def _areas_px(
    shape: tuple[int, int], cells: tuple[int, int], cell_px: float, tissue: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    """Tissue within each square, in pixels² of the network's level, float64 `[rows, columns]`."""
    if tissue is None:
        tissue = np.ones((1, 1), dtype=bool)
    if tissue.dtype != bool or tissue.ndim != 2 or not tissue.size:
        raise ValueError(f"tissue must be bool [h, w], got {tissue.dtype} {tissue.shape}")
    vertical = _overlaps(cells[0], cell_px, tissue.shape[0], shape[0] / tissue.shape[0])
    horizontal = _overlaps(cells[1], cell_px, tissue.shape[1], shape[1] / tissue.shape[1])
    return vertical @ tissue.astype(np.float64) @ horizontal.T


def _overlaps(cells: int, cell: float, pixels: int, pixel: float) -> NDArray[np.float64]:
    """Length that cell i (i·cell to (i + 1)·cell) and pixel j have in common, float64 `[cells, pixels]`."""
    begin, start = np.arange(cells)[:, None] * cell, np.arange(pixels)[None, :] * pixel
    return np.maximum(0, np.minimum(begin + cell, start + pixel) - np.maximum(begin, start))


def _density(counts: NDArray[np.int64], areas_mm2: NDArray[np.float64]) -> NDArray[np.float32]:
    """Nuclei per mm², float32, NaN in squares without tissue."""
    sigma = SMOOTHING_UM / CELL_UM
    smooth_counts = ndimage.gaussian_filter(np.where(areas_mm2 > 0, counts, 0.0), sigma, mode="constant")
    smooth_areas = ndimage.gaussian_filter(areas_mm2, sigma, mode="constant")
    density = np.full(counts.shape, np.nan, dtype=np.float32)
    np.divide(smooth_counts, smooth_areas, out=density, where=areas_mm2 > 0, casting="same_kind")
    return density


COLOURS = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ]
)
"""From 0 to the end of the scale at nine even steps: matplotlib's "viridis" (CC0). Lightness grows with the
value, for colour-blind eyes too."""

NO_TISSUE = (235, 235, 235)
"""The colour of squares without tissue."""

_INK, _PAPER = (0, 0, 0), (255, 255, 255)
_MARGIN, _BAR, _GAP, _LINE = 16, 20, 12, 22  # px
_TICKS = 5


def draw(density: NDArray[np.float32], *, extent: tuple[float, float]) -> Image.Image:
    """A heat map with its scale on the right.

    Args:
        density: float32 `[rows, columns]`, nuclei per mm², NaN = no tissue.
        extent: (rows, columns) that are within the slide; the last ones can be in part.
    """
    longest = max(extent)
    zoom = _MOST_SIDE / longest if longest > _MOST_SIDE else float(max(1, _LEAST_SIDE // math.ceil(longest)))
    height, width = (max(1, round(side * zoom)) for side in extent)
    top = nice_top(float(np.nanmax(density)) if np.isfinite(density).any() else 0.0)
    size = math.ceil(density.shape[1] * zoom), math.ceil(density.shape[0] * zoom)
    heat = Image.fromarray(_coloured(density, top)).resize(size, Image.Resampling.NEAREST)
    tall = max(height, 8 * _LINE)  # room for the scale beside a flat map
    bar_left = _MARGIN + width + _GAP
    picture = Image.new("RGB", (bar_left + _BAR + 130, tall + _LINE + 2 * _MARGIN), _PAPER)
    picture.paste(heat.crop((0, 0, width, height)), (_MARGIN, _MARGIN + _LINE))
    _draw_scale(picture, bar_left, tall, top)
    return picture


def _draw_scale(picture: Image.Image, left: int, height: int, top: float) -> None:
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=15)
    first, last = _MARGIN + _LINE, _MARGIN + _LINE + height - 2 * _LINE
    shades = np.linspace(top, 0, last - first, dtype=np.float32)[:, None]
    picture.paste(Image.fromarray(_coloured(np.repeat(shades, _BAR, axis=1), top)), (left, first))
    pen.rectangle((left, first, left + _BAR - 1, last - 1), outline=_INK)
    pen.text((left, _MARGIN - 6), "nuclei per square mm", fill=_INK, font=font)
    for tick in range(_TICKS + 1):
        y = last - 1 - round((last - 1 - first) * tick / _TICKS)
        pen.line((left + _BAR, y, left + _BAR + 4, y), fill=_INK)
        pen.text((left + _BAR + 8, y), f"{top * tick / _TICKS:,.0f}", fill=_INK, font=font, anchor="lm")
    y = last + _LINE
    pen.rectangle((left, y - 7, left + _BAR - 1, y + 7), fill=NO_TISSUE, outline=_INK)
    pen.text((left + _BAR + 8, y), "no tissue", fill=_INK, font=font, anchor="lm")


def _coloured(density: NDArray[np.float32], top: float) -> NDArray[np.uint8]:
    """uint8 `[rows, columns, 3]`: colours from 0 to `top`."""
    position = np.clip(np.nan_to_num(density) / top, 0, 1)
    steps = np.linspace(0, 1, len(COLOURS))
    colours = np.stack([np.interp(position, steps, COLOURS[:, channel]) for channel in range(3)], axis=-1)
    colours[np.isnan(density)] = NO_TISSUE
    return np.rint(colours).astype(np.uint8)


def nice_top(largest: float) -> float:
    """The end of the scale: the next 1, 1.5, 2, 3, 4, 5, 6 or 8 times a power of ten, at least 100."""
    largest = max(largest, 100.0)
    power = 10.0 ** math.floor(math.log10(largest))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= largest)
