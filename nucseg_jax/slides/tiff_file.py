"""TIFF and OME-TIFF, by tifffile: read piece by piece, however large."""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from nucseg_jax.errors import DataError, UserError, in_short
from nucseg_jax.io.cut_off import jpeg_is_cut_off
from nucseg_jax.io.images import ORIENTATION
from nucseg_jax.io.tiff_files import check_pieces, open_tiff, piece_size
from nucseg_jax.slides import colourless, colours, resolution, tiff_page, white
from nucseg_jax.slides.levels import level_of
from nucseg_jax.slides.reader import Resolution

CACHE_BYTES = 128 * 2**20
"""Decoded pieces that are kept: a row of pieces is read again for the next row of the network's tiles."""

MOST_PIECE_BYTES = 2**30
"""Of a tile or strip, which is decoded whole."""

_SAMPLED_PIECES, _SAMPLED_BYTES = 64, 2**29
"""Of a level, that white is looked for in: the most, and of large ones no more than about so much in all."""

_SAMPLED_SHALLOW = 16  # pieces of a level of 8 bits

_DECODERS = 64  # pieces that may be decoded at once


class TiffReader:
    """The first image of a TIFF, with its pyramid where it has one.

    RGB of 8 or 16 bits, interleaved or not, with or without transparency, or colours from a palette.

    Args:
      path: of the file.
      cache_bytes: of decoded pieces that are kept; the last one always is.
      most_piece_bytes: of a piece that is decoded.
      given_white: the value that is white in 16 bits; None: `white.find` looks for it. All levels have one.

    Raises:
      DataError: it cannot be read, is no colour image, or lies in one huge piece; or see `white.find`.
    """

    def __init__(
        self,
        path: Path,
        *,
        cache_bytes: int = CACHE_BYTES,
        most_piece_bytes: int = MOST_PIECE_BYTES,
        given_white: int | None = None,
    ):
        self._name = str(path)
        self._cache_bytes, self._most_piece_bytes = cache_bytes, most_piece_bytes
        try:
            self._file = open_tiff(path)
            series = self._file.series[0]
            pages: list[Any] = [level.keyframe for level in series.levels]
        except Exception as error:  # tifffile raises errors of many types on damaged files
            raise self._damaged(error) from error
        try:
            self._check(series)
            self._check_complete(pages)
            self._pages = pages
            base = pages[0]
            self.levels = tuple(
                level_of(page.imagelength, page.imagewidth, base.imagelength, base.imagewidth)
                for page in pages
            )
            self.is_slide, self.offset = len(pages) > 1, (0, 0)
            self._cache: OrderedDict[tuple[int, int], NDArray[np.uint8]] = OrderedDict()
            self._cached_bytes = 0
            self._lock = threading.Lock()
            self._decoding = tuple(threading.Lock() for _ in range(_DECODERS))
            self.resolution = self._resolution(base)
            self._white, self.notes = self._find_white(given_white)
            self.notes += self._other_notes(base)
        except UserError:
            self._file.close()
            raise
        except Exception as error:  # tags of other kinds than they must be
            self._file.close()
            raise self._damaged(error) from error

    def read(self, level: int, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        page = self._pages[level]
        rows, columns = piece_size(page)
        region = np.empty((height, width, 3), np.uint8)
        across = -(-page.imagewidth // columns)
        for row in range(top // rows, -(-(top + height) // rows)):
            for column in range(left // columns, -(-(left + width) // columns)):
                piece = self._piece(level, row * across + column)
                y, x = row * rows, column * columns
                first_y, first_x = max(y, top), max(x, left)
                last_y, last_x = min(y + rows, top + height), min(x + columns, left + width)
                region[first_y - top : last_y - top, first_x - left : last_x - left] = piece[
                    first_y - y : last_y - y, first_x - x : last_x - x
                ]
        return region

    def close(self) -> None:
        self._file.close()

    def _piece(self, level: int, index: int) -> NDArray[np.uint8]:
        """uint8 [rows, columns, 3] of a tile or strip, from the cache where it is there."""
        key = (level, index)
        with self._decoding[hash(key) % _DECODERS]:  # a huge strip is decoded by one thread, not by all
            with self._lock:
                if key in self._cache:
                    self._cache.move_to_end(key)
                    return self._cache[key]
            try:
                piece = self._decoded(self._pages[level], index)
                if piece.shape != (*piece_size(self._pages[level]), 3):
                    raise tifffile.TiffFileError(f"a piece of it has the shape {piece.shape}")
            except Exception as error:  # tifffile's codecs raise errors of many types on damaged pieces
                raise self._damaged(error) from error
            with self._lock:
                self._cache[key] = piece
                self._cached_bytes += piece.nbytes
                while self._cached_bytes > self._cache_bytes and len(self._cache) > 1:
                    self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
            return piece

    def _decoded(self, page: Any, index: int) -> NDArray[np.uint8]:
        pixels = self._stored(page, index)
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            return tiff_page.palette(page)[pixels[..., 0]]
        colour = np.ascontiguousarray(colours.to_eight_bits(pixels[..., :3], self._white))
        alpha = tiff_page.alpha(page)
        if not alpha:
            return colour
        opacity = colours.to_eight_bits(pixels[..., 3:])
        return colours.on_white(
            np.concatenate([colour, opacity], axis=-1), premultiplied=alpha == tiff_page.ASSOCIATED_ALPHA
        )

    def _stored(self, page: Any, index: int) -> NDArray[Any]:
        """[rows, columns, samples] of a piece as stored, of all its planes."""
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            count = len(page.dataoffsets) // page.samplesperpixel
            planes = [self._segment(page, index + plane * count) for plane in range(page.samplesperpixel)]
            return np.concatenate(planes, axis=-1)
        return self._segment(page, index)

    def _segment(self, page: Any, index: int) -> NDArray[Any]:
        """[rows, columns, samples] of one tile or strip as stored; a strip at the bottom is padded."""
        rows, columns = piece_size(page)
        length = page.databytecounts[index]
        file = self._file.filehandle
        with self._lock:
            file.seek(page.dataoffsets[index])
            stored = file.read(length)
        if len(stored) != length:
            raise tifffile.TiffFileError("the file ends too early")
        options = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}

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

    def _check(self, series: tifffile.TiffPageSeries) -> None:
        page: Any = series.keyframe
        axes = {axis: size for axis, size in zip(series.axes, series.shape, strict=True) if size > 1}
        if extra := {axis: size for axis, size in axes.items() if axis not in "YXS"}:
            kinds = {"C": "channels", "Z": "focal planes", "T": "points in time"}
            found = " and ".join(f"{size} {kinds.get(axis, 'images')}" for axis, size in extra.items())
            raise colours.refuse(self._name, f"a TIFF with {found}")
        photometric = tifffile.PHOTOMETRIC
        jpeg = page.compression in (tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG)
        if page.photometric in (photometric.MINISBLACK, photometric.MINISWHITE):
            raise colours.refuse(self._name, "greyscale")
        if page.photometric == photometric.PALETTE:
            known = page.samplesperpixel == 1 and page.colormap is not None
        else:
            coloured = page.photometric == photometric.RGB or (page.photometric == photometric.YCBCR and jpeg)
            known = coloured and page.samplesperpixel in (3, 4)
        bits = page.bitspersample  # of 4 and less, a palette alone has the colours in a table
        whole = bits in (8, 16) or page.photometric == photometric.PALETTE
        if not (known and whole and page.dtype in (np.uint8, np.uint16)):
            kind = getattr(page.photometric, "name", str(page.photometric))
            raise colours.refuse(
                self._name, f"a TIFF of {page.samplesperpixel} × {bits}-bit {page.dtype} {kind}"
            )
        rows, columns = piece_size(page)
        if min(rows, columns) < 1:
            raise self._damaged(f"its pieces have {rows} × {columns} pixels")
        if (size := rows * columns * page.samplesperpixel * page.dtype.itemsize) > self._most_piece_bytes:
            raise DataError(
                f"{self._name}: lies in pieces of {size / 2**30:.1f} GiB, which would have to be decoded "
                "whole. Save it as a tiled TIFF"
            )

    def _check_complete(self, pages: list[Any]) -> None:
        """Refuse a file that was cut off, and one whose first image is not its largest."""
        for page in pages:
            if min(page.imagelength, page.imagewidth) < 1:
                raise self._damaged(f"an image in it has {page.imagelength} × {page.imagewidth} pixels")
            check_pieces(page, self._file.filehandle.size)
        if self._next_directory():
            raise self._damaged("its list of images is cut off")
        first, *others = (series.keyframe for series in self._file.series)
        for page in others:
            if page.imagelength * page.imagewidth >= first.imagelength * first.imagewidth:
                raise DataError(
                    f"{self._name}: its first image, {first.imagelength}×{first.imagewidth}, is no larger "
                    f"than another in it, {page.imagelength}×{page.imagewidth}. Save the one that is meant "
                    "alone"
                )

    def _next_directory(self) -> int:
        """Where the image after the last that was found lies; 0 where there is none, as it should be."""
        len(self._file.pages)  # which looks for them all
        place = self._file.pages.next_page_offset
        if place is None:
            return 0
        self._file.filehandle.seek(place)
        stored = self._file.filehandle.read(self._file.tiff.offsetsize)
        return int.from_bytes(stored, "little" if self._file.byteorder == "<" else "big")

    @property
    def white(self) -> int | None:
        """The value that is white in 16 bits; None of 8."""
        return self._white if self._is_deep() else None

    def _is_deep(self) -> bool:
        page = self._pages[-1]
        return bool(page.dtype == np.uint16 and page.photometric != tifffile.PHOTOMETRIC.PALETTE)

    def _find_white(self, given: int | None) -> tuple[int, tuple[str, ...]]:
        """The value that is white, by the coarsest level, and what is said of that."""
        if self._is_deep():
            sample = self._sample(_SAMPLED_PIECES, white.SAMPLE_PIXELS)
            colourless.check(sample, self._name)
            value, note = white.find(sample, self._name, given)
            return value, (note,)
        if self._pages[-1].photometric != tifffile.PHOTOMETRIC.PALETTE:
            self._check_shallow_colours()
        return white.RANGE, white.unused(given)

    def _check_shallow_colours(self) -> None:
        try:
            sample = self._sample(_SAMPLED_SHALLOW, colourless.SAMPLE_PIXELS)
        except Exception:  # a damaged piece, which is an error where it is read
            return
        colourless.check(sample, self._name)

    def _sample(self, most_pieces: int, most_pixels: int) -> NDArray[Any]:
        """[n, 3] from all over the coarsest level, as stored, without transparent pixels."""
        page = self._pages[-1]
        rows, columns = piece_size(page)
        across, down = -(-page.imagewidth // columns), -(-page.imagelength // rows)
        piece_bytes = rows * columns * page.samplesperpixel * page.dtype.itemsize
        most = min(most_pieces, max(4, _SAMPLED_BYTES // piece_bytes))
        chosen = tiff_page.evenly_spaced(down, across, most)
        share = -(-len(chosen) * rows * columns // most_pixels)
        sample = []
        for row, column in chosen:
            pixels = self._stored(page, row * across + column)
            pixels = pixels[: page.imagelength - row * rows, : page.imagewidth - column * columns]
            pixels = pixels.reshape(-1, page.samplesperpixel)[::share]
            if tiff_page.alpha(page):
                pixels = pixels[pixels[:, 3] > np.iinfo(page.dtype).max // 2]
            sample.append(pixels[:, :3])
        return np.concatenate(sample)

    def _other_notes(self, page: Any) -> tuple[str, ...]:
        notes = colours.orientation_note(page.tags.valueof(ORIENTATION))
        if count := sum(not tiff_page.is_of_another(series) for series in self._file.series[1:]):
            others = "another image" if count == 1 else f"{count} other images"
            notes += (f"{others} in the file {'is' if count == 1 else 'are'} left out: the first is read",)
        if tiff_page.alpha(page):
            return (*notes, colours.ON_WHITE)
        if page.samplesperpixel > 3:
            return (*notes, "the fourth channel is left out: the file does not say what it is")
        return notes

    def _resolution(self, page: Any) -> Resolution:
        if self._file.is_ome and self._file.ome_metadata:
            return resolution.of_ome(self._file.ome_metadata, self._name)
        imagej = self._file.imagej_metadata or {}
        return resolution.of_tiff(
            (tiff_page.ratio(page, "XResolution"), tiff_page.ratio(page, "YResolution")),
            int(page.tags.valueof("ResolutionUnit", default=1)),
            str(imagej.get("unit", "")),
            self._name,
        )

    def _damaged(self, error: Exception | str) -> DataError:
        return DataError(
            f"{self._name}: cannot be read as a TIFF ({in_short(error)}). Copy or export it again"
        )
