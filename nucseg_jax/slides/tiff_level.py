"""One resolution of a TIFF: its pieces as they are stored, from a page or from one page a colour."""

import threading
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from nucseg_jax.io.cut_off import jpeg_is_cut_off
from nucseg_jax.io.tiff_files import check_pieces, piece_size
from nucseg_jax.slides import tiff_page
from nucseg_jax.slides.pieces import Grid

_RGB = (0, 1, 2)


class TiffLevel:
    """One resolution of a TIFF.

    Args:
      series: of tifffile: the first of a file, or one of its levels.
      file: that it is in, open.
      lock: held while the file is read.

    Attributes:
      page: says how the pieces lie, and of what kind they are.
      planes: pages that have the samples: `page` alone, or one a channel.
      order: where red, green and blue are among the samples.
    """

    def __init__(self, series: tifffile.TiffPageSeries, file: Any, lock: threading.Lock):
        self.page: Any = series.keyframe
        self.planes: list[Any] = [self.page]
        if self.page.samplesperpixel == 1 and dict(zip(series.axes, series.shape, strict=True)).get("C") == 3:
            self.planes = list(series.pages)
        self.order: tuple[int, ...] = _RGB
        self._file, self._lock = file, lock

    @property
    def samples(self) -> int:
        """Of a pixel."""
        return self.page.samplesperpixel * len(self.planes)

    @property
    def grid(self) -> Grid:
        """How it is cut into pieces."""
        return Grid(self.page.imagelength, self.page.imagewidth, *piece_size(self.page))

    @property
    def piece_bytes(self) -> int:
        """Of a decoded piece."""
        rows, columns = piece_size(self.page)
        return rows * columns * self.samples * self.page.dtype.itemsize

    def check(self) -> None:
        """Raise TiffFileError unless the file has all pieces of all planes, which lie alike."""
        page = self.page
        if min(page.imagelength, page.imagewidth) < 1:
            raise tifffile.TiffFileError(f"an image in it has {page.imagelength} × {page.imagewidth} pixels")
        for plane in self.planes:
            if plane is None:
                raise tifffile.TiffFileError("the plane of a colour is not in it")
            if plane.hash != page.hash:
                raise tifffile.TiffFileError("the planes of its colours are not alike")
            check_pieces(page, self._file.filehandle.size, plane)

    def stored(self, row: int, column: int) -> NDArray[Any]:
        """[rows, columns, samples] of a piece as stored, of all its planes; red, green and blue first."""
        index = row * -(-self.page.imagewidth // piece_size(self.page)[1]) + column
        parts = [self._of_plane(plane, index) for plane in self.planes]
        pixels = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        return pixels if self.order == _RGB else pixels[..., self.order]

    def sample(self, most_pieces: int, most_pixels: int, about_bytes: int) -> NDArray[Any]:
        """[n, 3] from all over the level, as stored, without transparent pixels.

        Args:
          most_pieces: that are decoded.
          most_pixels: that are given.
          about_bytes: of large pieces, that are decoded in all.
        """
        height, width, rows, columns = self.grid
        most = min(most_pieces, max(4, about_bytes // self.piece_bytes))
        chosen = tiff_page.evenly_spaced(-(-height // rows), -(-width // columns), most)
        share = -(-len(chosen) * rows * columns // most_pixels)
        sample = []
        for row, column in chosen:
            pixels = self.stored(row, column)[: height - row * rows, : width - column * columns]
            pixels = pixels.reshape(-1, self.samples)[::share]
            if tiff_page.alpha(self.page):
                pixels = pixels[pixels[:, 3] > np.iinfo(self.page.dtype).max // 2]
            sample.append(pixels[:, :3])
        return np.concatenate(sample)

    def _of_plane(self, plane: Any, index: int) -> NDArray[Any]:
        """[rows, columns, samples] of a piece of one of `planes`."""
        samples = self.page.samplesperpixel
        if self.page.planarconfig == 2 and samples > 1:
            count = len(plane.dataoffsets) // samples
            return np.concatenate([self._segment(plane, index + i * count) for i in range(samples)], axis=-1)
        return self._segment(plane, index)

    def _segment(self, plane: Any, index: int) -> NDArray[Any]:
        """[rows, columns, samples] of one tile or strip as stored; a strip at the bottom is padded."""
        page = self.page
        rows, columns = piece_size(page)
        length = plane.databytecounts[index]
        file = self._file.filehandle
        with self._lock:
            file.seek(plane.dataoffsets[index])
            stored = file.read(length)
        if len(stored) != length:
            raise tifffile.TiffFileError("the file ends too early")
        options = {"jpegtables": plane.jpegtables, "jpegheader": page.jpegheader}

        def decoded(data: bytes | None) -> NDArray[Any] | None:
            found = page.decode(data, index, **options)[0]
            return None if found is None else found[0]

        pixels = decoded(stored if length else None)
        samples = 1 if page.planarconfig == 2 else page.samplesperpixel
        if pixels is None:  # a piece that was never written
            return np.full((rows, columns, samples), np.iinfo(page.dtype).max, page.dtype)
        if page.compression == tifffile.COMPRESSION.JPEG and jpeg_is_cut_off(stored, pixels, decoded):
            raise tifffile.TiffFileError("a piece of it ends before its last pixel")
        missing = rows - pixels.shape[0], columns - pixels.shape[1]
        return np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0))) if any(missing) else pixels
