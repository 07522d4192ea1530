"""OME-Zarr, by zarr: read chunk by chunk, from a folder or from an address."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.errors import DataError, MissingExtraError, UserError, in_short, listed
from nucseg_jax.io.names import is_address
from nucseg_jax.slides import colourless, colours, remote, resolution, white, zarr_metadata
from nucseg_jax.slides.pieces import MOST_PIECE_BYTES, Grid, Pieces
from nucseg_jax.slides.reader import Level
from nucseg_jax.slides.tiff_page import evenly_spaced
from nucseg_jax.slides.zarr_metadata import ZarrImage

_CODECS = {
    *("bytes", "endian", "transpose", "sharding_indexed", "crc32c"),
    *("blosc", "gzip", "zlib", "zstd", "lz4", "bz2", "lzma", "shuffle", "delta"),
}
"""That unpack bytes and do nothing else: `pickle` is a codec, too, and would run what a file says."""

_AT_ONCE = 8  # chunks that are fetched from an address at the same time
_SAMPLED_PIECES, _SAMPLED_SHALLOW, _SAMPLED_BYTES = 64, 16, 2**28
"""Of a level, that colours are looked for in: chunks of 16 and of 8 bits; of large ones about so much."""

_MOST_OFF_PX, _MOST_OFF = 2, 0.02  # a level's side from what its scale says: programs round up or down


class ZarrReader:
    """An image of OME-Zarr with its pyramid: three channels of 8 or 16 bits that are red, green and blue.

    Args:
      path: of the folder, or its address. Of bioformats2raw's, the first image is read.
      given_white: the value that is white in 16 bits; None: `white.find` looks for it. All levels have one.

    Raises:
      MissingExtraError: zarr is not installed.
      DataError: it cannot be read, is no image of three channels, or lies in huge chunks; or see
        `white.find`.
    """

    def __init__(self, path: Path, *, given_white: int | None = None):
        self._name, self._path = str(path), path
        group, more = self._group()
        self._image, arrays = self._image_of(group)
        self._arrays = arrays
        for array in arrays:
            self._check(array)
        axes = self._image.axes
        self._y, self._x = axes.index("y"), axes.index("x")
        self._order = self._image.channels.order()
        self.levels = tuple(self._level(i) for i in range(len(arrays)))
        self.is_slide, self.offset = len(arrays) > 1, (0, 0)
        self._grids = [
            Grid(
                level.height,
                level.width,
                min(array.chunks[self._y], level.height),
                min(array.chunks[self._x], level.width),
            )
            for level, array in zip(self.levels, arrays, strict=True)
        ]
        self._pieces = Pieces(self._grids, self._piece, at_once=_AT_ONCE if is_address(path) else 1)
        down, across = ((self._image.datasets[0].scale[i], self._image.units[i]) for i in (self._y, self._x))
        self.resolution = resolution.of_axes(down, across, self._name)
        try:
            self._white, self.notes = self._find_white(given_white)
        except UserError:
            self.close()
            raise
        self.notes += self._other_notes(more)

    def read(self, level: int, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        return self._pieces.read(level, top, left, height, width)

    def close(self) -> None:
        self._pieces.close()

    @property
    def white(self) -> int | None:
        """The value that is white in 16 bits; None of 8."""
        return self._white if self._is_deep() else None

    def _group(self) -> tuple[Any, int]:
        """The group of the image, and how many more images there are beside it."""
        try:
            import zarr
        except ImportError as error:
            raise MissingExtraError("zarr", error) from error
        store = remote.zarr_store(self._path) if is_address(self._path) else self._name
        try:
            group = zarr.open_group(store, mode="r", use_consolidated=False)
            ome = zarr_metadata.ome_part(group.attrs.asdict())
            if "bioformats2raw.layout" not in ome or "multiscales" in ome:
                return group, 0
            names = self._series(group)
            return group[names[0]], len(names) - 1
        except UserError:
            raise
        except Exception as error:  # of many types: of damaged metadata, and of the network
            raise self._unreadable(error) from error

    @staticmethod
    def _series(group: Any) -> list[str]:
        """Names of the images that bioformats2raw has written."""
        if "OME" in group:
            series = zarr_metadata.ome_part(group["OME"].attrs.asdict()).get("series")
            if isinstance(series, list) and series and all(isinstance(name, str) for name in series):
                return series
        return ["0", "1"] if "1" in group else ["0"]

    def _image_of(self, group: Any) -> tuple[ZarrImage, list[Any]]:
        try:
            ome = zarr_metadata.ome_part(group.attrs.asdict())
            zarr_metadata.refuse_others(ome, self._name)
            image = zarr_metadata.image_of(ome, self._name)
            arrays = [group[dataset.path] for dataset in image.datasets]
            for dataset, array in zip(image.datasets, arrays, strict=True):
                if not hasattr(array, "chunks"):
                    raise DataError(f"{self._name}: its level {dataset.path} is no array. Export it again")
                zarr_metadata.check_shape(image, array.shape, self._name)
        except UserError:
            raise
        except Exception as error:
            raise self._unreadable(error) from error
        return image, arrays

    def _check(self, array: Any) -> None:
        """Refuse arrays of a kind that is not read."""
        if array.dtype not in (np.uint8, np.uint16):
            raise colours.refuse(self._name, f"OME-Zarr of {array.dtype}")
        if unknown := sorted(set(_codecs(array.metadata)) - _CODECS):
            raise DataError(
                f"{self._name}: is packed by {in_short(listed(unknown), 60)}, which is not unpacked here. "
                "Export it again with blosc, zstd or gzip"
            )
        if array.dtype != self._arrays[0].dtype or min(array.shape) < 1 or min(array.chunks) < 1:
            raise self._unreadable(
                f"a level of {list(array.shape)} {array.dtype}, chunks {list(array.chunks)}"
            )
        size = math.prod(array.chunks) * array.dtype.itemsize
        if size > MOST_PIECE_BYTES:
            raise DataError(
                f"{self._name}: lies in chunks of {size / 2**30:.1f} GiB, which would have to be decoded "
                "whole. Save it in smaller ones"
            )

    def _level(self, index: int) -> Level:
        array, base = self._arrays[index], self._arrays[0]
        ratios = []
        for axis in (self._y, self._x):
            ratio = self._image.datasets[index].scale[axis] / self._image.datasets[0].scale[axis]
            expected = base.shape[axis] / ratio
            if ratio < 1 or abs(array.shape[axis] - expected) > max(_MOST_OFF_PX, _MOST_OFF * expected):
                raise DataError(
                    f"{self._name}: its level {self._image.datasets[index].path} has {array.shape[axis]:,} "
                    f"pixels along {self._image.axes[axis]}, but its scale, {ratio:g} times that of the "
                    f"first level, says {expected:,.0f}. Export it again"
                )
            ratios.append(ratio)
        return Level(array.shape[self._y], array.shape[self._x], *ratios)

    def _piece(self, level: int, row: int, column: int) -> NDArray[np.uint8]:
        """uint8 [rows, columns, 3] of a chunk; what reaches out of the level is black."""
        stored = colours.to_eight_bits(self._stored(level, row, column), self._white)
        grid = self._grids[level]
        missing = grid.rows - stored.shape[0], grid.columns - stored.shape[1]
        return np.pad(stored, ((0, missing[0]), (0, missing[1]), (0, 0))) if any(missing) else stored

    def _stored(self, level: int, row: int, column: int) -> NDArray[Any]:
        """uint8 or uint16 [height, width, 3] of a chunk as stored, as far as it lies in the level."""
        axes, grid = self._image.axes, self._grids[level]
        top, left = row * grid.rows, column * grid.columns
        parts = {
            "y": slice(top, min(top + grid.rows, grid.height)),
            "x": slice(left, min(left + grid.columns, grid.width)),
            "c": slice(None),
        }
        kept = [axis for axis in axes if axis in parts]
        try:
            pixels = np.asarray(self._arrays[level][tuple(parts.get(axis, 0) for axis in axes)])
        except Exception as error:  # of many types: of damaged chunks, and of the network
            raise self._unreadable(error) from error
        pixels = pixels.transpose([kept.index(axis) for axis in "yxc"])
        pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        return np.ascontiguousarray(pixels if self._order is None else pixels[..., self._order])

    def _is_deep(self) -> bool:
        return bool(self._arrays[0].dtype == np.uint16)

    def _find_white(self, given: int | None) -> tuple[int, tuple[str, ...]]:
        """The value that is white, by the coarsest level, and what is said of that."""
        sample = self._sample()
        colourless.check(sample, self._name)
        if self._is_deep():
            value, note = white.find(sample, self._name, given)
            return value, (note,)
        colourless.check_bright(sample, self._name)
        return white.RANGE, white.unused(given)

    def _sample(self) -> NDArray[Any]:
        """[n, 3] from all over the coarsest level, as stored."""
        grid = self._grids[-1]
        piece_bytes = grid.rows * grid.columns * 3 * self._arrays[-1].dtype.itemsize
        most = min(
            _SAMPLED_PIECES if self._is_deep() else _SAMPLED_SHALLOW, max(4, _SAMPLED_BYTES // piece_bytes)
        )
        chosen = evenly_spaced(-(-grid.height // grid.rows), -(-grid.width // grid.columns), most)
        share = -(-len(chosen) * grid.rows * grid.columns // white.SAMPLE_PIXELS)
        found = [self._stored(len(self._grids) - 1, *place).reshape(-1, 3)[::share] for place in chosen]
        return np.concatenate(found)

    def _other_notes(self, more: int) -> tuple[str, ...]:
        notes: tuple[str, ...] = ()
        if self._order is None:
            notes += (
                "its three channels are taken to be red, green and blue, though the file does not say what "
                "they are",
            )
        if count := more + self._image.others:
            others = "another image" if count == 1 else f"{count} other images"
            notes += (f"{others} in the folder {'is' if count == 1 else 'are'} left out: the first is read",)
        return notes

    def _unreadable(self, error: Exception | str) -> DataError:
        if isinstance(error, Exception) and is_address(self._path):
            return remote.unreadable(self._path, error)
        return DataError(
            f"{self._name}: cannot be read as OME-Zarr ({in_short(error)}). Copy or export it again"
        )


def _codecs(metadata: Any) -> Iterator[str]:
    """Names of all codecs of an array, those within others, too."""
    if metadata.zarr_format == 2:
        for codec in (metadata.compressor, *(metadata.filters or ())):
            if codec is not None:
                yield str(codec.codec_id)
    else:
        yield from _named(metadata.to_dict()["codecs"])


def _named(codecs: Any) -> Iterator[str]:
    for codec in codecs:
        entry = codec if isinstance(codec, Mapping) else {"name": codec}
        yield str(entry["name"]).removeprefix("numcodecs.")
        configuration = entry.get("configuration") or {}
        for key in ("codecs", "index_codecs"):
            yield from _named(configuration.get(key, ()))
