"""TIFF and OME-TIFF, by tifffile: read piece by piece, however large."""

import threading
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from nucseg_jax.errors import DataError, UserError, in_short
from nucseg_jax.io.images import ORIENTATION
from nucseg_jax.io.names import is_address
from nucseg_jax.io.tiff_files import open_tiff, piece_size
from nucseg_jax.slides import colourless, colours, remote, resolution, tiff_kind, tiff_page, white
from nucseg_jax.slides.levels import level_of
from nucseg_jax.slides.pieces import CACHE_BYTES, MOST_PIECE_BYTES, Pieces
from nucseg_jax.slides.reader import Resolution
from nucseg_jax.slides.tiff_level import TiffLevel

_SAMPLED_PIECES, _SAMPLED_BYTES = 64, 2**29
"""Of a level, that white is looked for in: the most, and of large ones no more than about so much in all."""

_SAMPLED_SHALLOW = 16  # pieces of a level of 8 bits


class TiffReader:
    """The first image of a TIFF, with its pyramid where it has one.

    RGB of 8 or 16 bits, interleaved or not, with or without transparency, colours from a palette, or three
    channels that are red, green and blue (`tiff_kind`).

    Args:
      path: of the file, or its address.
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
        self._source: Path | BinaryIO = remote.open_file(path) if is_address(path) else path
        try:
            self._file = open_tiff(self._source)
        except Exception as error:  # tifffile raises errors of many types on damaged files
            if not isinstance(self._source, Path):
                self._source.close()
            raise self._damaged(error) from error
        try:
            if not isinstance(self._source, Path):
                tiff_kind.refuse_scanners(self._file, self._name)
            lock = threading.Lock()
            self._levels = [TiffLevel(level, self._file, lock) for level in self._file.series[0].levels]
            kind_notes = tiff_kind.check(self._file, self._levels, self._name)
            self._check_pieces(self._levels[0], most_piece_bytes)
            self._check_complete()
            base = self._levels[0].page
            grids = [level.grid for level in self._levels]
            self._pieces = Pieces(grids, self._piece, cache_bytes=cache_bytes)
            self.levels = tuple(
                level_of(grid.height, grid.width, grids[0].height, grids[0].width) for grid in grids
            )
            self.is_slide, self.offset = len(grids) > 1, (0, 0)
            self.resolution = self._resolution(base)
            self._white, self.notes = self._find_white(given_white)
            self.notes += kind_notes + self._other_notes(base)
        except UserError:
            self._close_file()
            raise
        except Exception as error:  # tags of other kinds than they must be
            self._close_file()
            raise self._damaged(error) from error

    def read(self, level: int, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        return self._pieces.read(level, top, left, height, width)

    def close(self) -> None:
        self._pieces.close()
        self._close_file()

    def _close_file(self) -> None:
        self._file.close()
        if not isinstance(self._source, Path):
            self._source.close()

    def _piece(self, level: int, row: int, column: int) -> NDArray[np.uint8]:
        """uint8 [rows, columns, 3] of a tile or strip."""
        try:
            piece = self._decoded(self._levels[level], row, column)
            if piece.shape != (*piece_size(self._levels[level].page), 3):
                raise tifffile.TiffFileError(f"a piece of it has the shape {piece.shape}")
        except Exception as error:  # tifffile's codecs raise errors of many types on damaged pieces
            raise self._damaged(error) from error
        return piece

    def _decoded(self, level: TiffLevel, row: int, column: int) -> NDArray[np.uint8]:
        pixels, page = level.stored(row, column), level.page
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

    def _check_pieces(self, level: TiffLevel, most_bytes: int) -> None:
        rows, columns = piece_size(level.page)
        if min(rows, columns) < 1:
            raise self._damaged(f"its pieces have {rows} × {columns} pixels")
        if level.piece_bytes > most_bytes:
            raise DataError(
                f"{self._name}: lies in pieces of {level.piece_bytes / 2**30:.1f} GiB, which would have to "
                "be decoded whole. Save it as a tiled TIFF"
            )

    def _check_complete(self) -> None:
        """Refuse a file that was cut off, and one whose first image is not its largest."""
        for level in self._levels:
            level.check()
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
        page = self._levels[-1].page
        return bool(page.dtype == np.uint16 and page.photometric != tifffile.PHOTOMETRIC.PALETTE)

    def _find_white(self, given: int | None) -> tuple[int, tuple[str, ...]]:
        """The value that is white, by the coarsest level, and what is said of that."""
        coarsest = self._levels[-1]
        if self._is_deep():
            sample = coarsest.sample(_SAMPLED_PIECES, white.SAMPLE_PIXELS, _SAMPLED_BYTES)
            colourless.check(sample, self._name)
            value, note = white.find(sample, self._name, given)
            return value, (note,)
        if coarsest.page.photometric != tifffile.PHOTOMETRIC.PALETTE:
            self._check_shallow_colours()
        return white.RANGE, white.unused(given)

    def _check_shallow_colours(self) -> None:
        try:
            sample = self._levels[-1].sample(_SAMPLED_SHALLOW, colourless.SAMPLE_PIXELS, _SAMPLED_BYTES)
        except Exception:  # a damaged piece, which is an error where it is read
            return
        colourless.check(sample, self._name)
        if self._levels[0].page.photometric == tifffile.PHOTOMETRIC.MINISBLACK:
            colourless.check_bright(sample, self._name)

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
        remedy = "Copy or export it again" if isinstance(self._source, Path) else remote.REMEDY
        return DataError(f"{self._name}: cannot be read as a TIFF ({in_short(error)}). {remedy}")
