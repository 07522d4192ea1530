"""Nuclei as a label map: 0 is background, every pixel of a nucleus has its id.

In base pixels, whatever the network's level is: pixel [y, x] is of what pixel (x, y) of the slide shows. A
slide's is a pyramid of tiles, made on disk; an image's is one array.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax.errors import DataError, UserError
from nucseg_jax.export.batches import Batch
from nucseg_jax.export.label_pyramid import TILE_PX, LabelPyramid, paint_runs
from nucseg_jax.export.limits import USUAL_LIMITS, Limits
from nucseg_jax.export.sinks import Sink
from nucseg_jax.io.disk import named_when_full
from nucseg_jax.io.files import appearing
from nucseg_jax.nuclei import Frame

if TYPE_CHECKING:
    import tifffile

_CM_PER_UM = 1e-4


def label_map(path: Path, frame: Frame, limits: Limits = USUAL_LIMITS, scratch: Path | None = None) -> Sink:
    """The label map that a path's ending says: `.ome.tif` a pyramid, `.tif`, `.tiff` or `.png` one array.

    Args:
        path: of the file.
        frame: the slide.
        limits: how much it holds in memory, besides the one array.
        scratch: a folder for a pyramid's temporary file; None: that of `path`.

    Raises:
        UserError: another ending.
    """
    if path.name.lower().endswith((".ome.tif", ".ome.tiff")):
        return PyramidLabelMap(path, frame, limits, scratch)
    return ImageLabelMap(path, frame, limits)


class PyramidLabelMap(Sink):
    """A pyramidal, tiled OME-TIFF, int32, Deflate, as large as the slide, with its µm per pixel.

    Each level is every second pixel of the one above, so labels are never mixed, down to one tile; the levels
    are SubIFDs of the one image, as OME-TIFF 6 wants. Nuclei are painted as they come, on compressed tiles in
    a scratch file (`LabelPyramid`): memory is bounded, whatever the slide's size.

    Args:
        path: of the file; `.ome.tif`, by which readers know it.
        frame: the slide.
        limits: how much it holds in memory.
        scratch: a folder for the scratch file; None: that of `path`.
    """

    def __init__(
        self, path: Path, frame: Frame, limits: Limits = USUAL_LIMITS, scratch: Path | None = None
    ) -> None:
        super().__init__(frame, limits)
        self._path = path
        self._scratch = scratch or path.parent  # not /tmp, which may be memory
        self._temporary: Path
        self._pyramid: LabelPyramid

    def _open(self, stack: ExitStack) -> None:
        self._temporary = stack.enter_context(appearing(self._path))
        # Unnamed where the system can do that, so that nothing is left of it.
        scratch = stack.enter_context(tempfile.TemporaryFile(dir=self._scratch))
        self._pyramid = LabelPyramid(self._frame.size, scratch, self._limits.label_bytes)

    def _write(self, batch: Batch) -> None:
        with named_when_full(self._scratch):
            self._pyramid.paint(*_runs_on_slide(batch))

    def _finish(self) -> None:
        import tifffile

        shapes = self._pyramid.levels()
        mpp = self._frame.mpp
        metadata = {
            "axes": "YX",
            "Name": "nuclei",
            "PhysicalSizeX": mpp,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": mpp,
            "PhysicalSizeYUnit": "µm",
        }
        # Offsets of 64 bits: how much the tiles compress is not known before, and 4 GB would be too much.
        with tifffile.TiffWriter(self._temporary, bigtiff=True, ome=True, byteorder="<") as writer:
            self._write_level(writer, 0, shapes[0], subifds=len(shapes) - 1, metadata=metadata)
            for level, shape in enumerate(shapes[1:], start=1):
                self._write_level(writer, level, shape, subfiletype=1, metadata=None)

    def _write_level(
        self, writer: tifffile.TiffWriter, level: int, shape: tuple[int, int], **options: Any
    ) -> None:
        writer.write(
            self._pyramid.compressed(level),
            shape=shape,
            dtype="int32",
            tile=(TILE_PX, TILE_PX),
            compression="zlib",
            photometric="minisblack",
            software="nucseg_jax",
            **resolution(self._frame.mpp * 2**level),
            **options,
        )


class ImageLabelMap(Sink):
    """One array: TIFF (int32, Deflate, with its µm per pixel) or PNG (16 bits).

    Args:
        path: `.tif`, `.tiff` or `.png`.
        frame: the image.
        limits: how much it holds in memory besides the array.

    Raises:
        UserError: another ending.
        DataError: at the end: a PNG cannot hold an id above 65,535.
    """

    def __init__(self, path: Path, frame: Frame, limits: Limits = USUAL_LIMITS) -> None:
        super().__init__(frame, limits)
        if path.suffix.lower() not in (".tif", ".tiff", ".png"):
            raise UserError(f"{path}: label maps are written as .tif, .tiff or .png, not {path.suffix!r}")
        self._path = path
        self._temporary: Path
        self._labels: NDArray[np.int32]

    def _open(self, stack: ExitStack) -> None:
        self._temporary = stack.enter_context(appearing(self._path))
        self._labels = np.zeros(self._frame.size, dtype=np.int32)

    def _write(self, batch: Batch) -> None:
        row, start, stop, label = _runs_on_slide(batch)
        paint_runs(self._labels, row * self._labels.shape[1] + start, stop - start, label)

    def _finish(self) -> None:
        if self._path.suffix.lower() == ".png":
            largest = self._labels.max(initial=0)
            if largest > np.iinfo(np.uint16).max:
                raise DataError(
                    f"{self._path}: has a nucleus {largest}, but a PNG holds at most 65535: write a .tif"
                )
            Image.fromarray(self._labels.astype(np.uint16)).save(self._temporary, format="PNG")
            return
        import tifffile

        tifffile.imwrite(
            self._temporary,
            self._labels,
            compression="zlib",
            photometric="minisblack",
            metadata=None,
            software="nucseg_jax",
            **resolution(self._frame.mpp),
        )


def _runs_on_slide(batch: Batch) -> tuple[NDArray[np.int64], ...]:
    """The nuclei's pixels in base pixels as runs: row, first column, column after the last, label."""
    runs = batch.canvas.runs
    index, row, start, stop = batch.canvas.frame.runs_on_slide(runs.y, runs.start, runs.stop)
    return row, start, stop, batch.ids[runs.nucleus[index]]


def resolution(mpp: float) -> dict[str, Any]:
    """TIFF's tags for the size of a pixel."""
    per_cm = 1 / (mpp * _CM_PER_UM)
    return {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
