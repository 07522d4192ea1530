"""A folder with the nuclei of a slide in several formats; it appears only when it is complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.errors import UserError
from nucseg_jax.export.batches import Batch
from nucseg_jax.export.density import DensityMap
from nucseg_jax.export.dicom_annotations import DicomAnnotations
from nucseg_jax.export.extra_formats import EXTRA_FORMATS, check_installed
from nucseg_jax.export.geojson import GeoJson
from nucseg_jax.export.geoparquet import ParquetTable
from nucseg_jax.export.helpers import Ahead, Helpers
from nucseg_jax.export.label_map import label_map
from nucseg_jax.export.limits import USUAL_LIMITS, Limits
from nucseg_jax.export.neighbour_table import NeighbourTable
from nucseg_jax.export.object_ids import ObjectIds
from nucseg_jax.export.overlay import Overlay
from nucseg_jax.export.polygons import Shapes, check_simplify
from nucseg_jax.export.region_areas import region_areas
from nucseg_jax.export.sinks import Sink
from nucseg_jax.export.spatialdata_zarr import SpatialDataZarr
from nucseg_jax.export.summary import Summary
from nucseg_jax.export.table import CsvTable
from nucseg_jax.export.tissue_area import TissueArea
from nucseg_jax.io.files import appearing_folder, printable
from nucseg_jax.nuclei import Frame
from nucseg_jax.regions import Regions
from nucseg_jax.slides.tissue_mask import MASK_MPP

FORMATS = {
    "geojson": "nuclei.geojson, or nuclei.geojson.gz",
    "csv": "nuclei.csv",
    "parquet": "nuclei.parquet",
    "neighbours": "neighbours.csv and neighbours.parquet",
    "labels": "labels.ome.tif, or as `labels` says",
    "overlay": "overlay.png",
    "density": "density.tif and density.png",
}
"""Name → the files it makes, unless others are named. `summary.json` is always written."""

_WITH_OUTLINES = ("geojson", "parquet", *EXTRA_FORMATS)


class Exports(Sink):
    """A folder with the nuclei of a slide in several formats; it appears, complete, when the block ends.

    Args:
        folder: it replaces an older one of this name. A block that raises leaves the older one as it was.
        frame: the slide.
        source: the slide's file, for the summary, and by its name for the nuclei's ids.
        thumbnail: uint8 `[h, w, 3]` RGB, the whole slide; the overlay is drawn on it.
        tissue: bool `[h, w]`, the whole slide, True = was analysed, at any resolution; None: all of it.
        regions: that nuclei were looked for in; None: on the whole slide.
        masked: the share of the slide by kind of what was masked, for the summary.
        left_out: nuclei that were left out, by reason, for the summary; read at the end.
        implausible: the same of nuclei that were kept and are hardly any.
        config: of the run, for the summary; what JSON can hold, read at the end.
        seconds: by stage, for the summary; read at the end, so that the run can still fill it.
        labels: name of the label map, whose ending says its format (`label_map`): a pyramid suits slides; of
            an image, labels.tif or labels.png can be read by more programs.
        formats: some of `FORMATS` and `EXTRA_FORMATS`; None: all of `FORMATS`.
        settings: that decide which nuclei are found, for their ids (`ObjectIds`).
        simplify_um: how far outlines in files may be from the exact ones, µm; None: they are exact.
        gzip: the GeoJSON.
        limits: how much of the nuclei it holds in memory.
        scratch: a folder for temporary files of a pyramid; None: the results' own.
        helpers: processes that make what is written, which is the same without them; None: this one does.
        say: is told what a file leaves out.

    Raises:
        UserError: an unknown format; one that cannot be written here, or of this slide (`EXTRA_FORMATS`); no
            distance to simplify by.
        ValueError: as the formats' own.
    """

    def __init__(
        self,
        folder: Path,
        frame: Frame,
        *,
        source: Path,
        thumbnail: NDArray[np.uint8],
        tissue: NDArray[np.bool_] | None = None,
        regions: Regions | None = None,
        masked: Mapping[str, float] | None = None,
        left_out: Mapping[str, int] | None = None,
        implausible: Mapping[str, int] | None = None,
        config: Mapping[str, Any],
        seconds: Mapping[str, float],
        labels: str = "labels.ome.tif",
        formats: Collection[str] | None = None,
        settings: Mapping[str, Any] | None = None,
        simplify_um: float | None = None,
        gzip: bool = False,
        limits: Limits = USUAL_LIMITS,
        scratch: Path | None = None,
        helpers: Helpers | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        super().__init__(frame, limits)
        self._path = folder
        self._scratch = scratch
        self._source = source
        self._thumbnail = thumbnail
        self._tissue, self._regions = tissue, regions
        self._masked, self._left_out, self._implausible = masked, left_out, implausible
        self._config = config
        self._seconds = seconds
        self._labels = labels
        check_formats(formats, simplify_um=simplify_um, gzip=gzip)
        self._formats = FORMATS if formats is None else formats
        self._settings, self._shapes, self._gzip = settings or {}, Shapes(simplify_um), gzip
        self._helpers, self._say = helpers, say
        self._sinks: list[Sink] = []
        self._ahead: Ahead | None = None

    def _open(self, stack: ExitStack) -> None:
        folder = stack.enter_context(appearing_folder(self._path))
        self._sinks = [stack.enter_context(sink) for sink in self._make_sinks(folder)]
        if self._helpers is not None:
            self._ahead = Ahead(self._helpers, [maker for sink in self._sinks for maker in sink.makers])
            stack.callback(self._ahead.cancel)

    def _write(self, batch: Batch) -> None:
        for made in (batch,) if self._ahead is None else self._ahead.put(batch):
            self._write_to_all(made)

    def _finish(self) -> None:
        for made in () if self._ahead is None else self._ahead.rest():
            self._write_to_all(made)

    def _write_to_all(self, batch: Batch) -> None:
        for sink in self._sinks:
            sink.add_batch(batch)

    def _make_sinks(self, folder: Path) -> list[Sink]:
        frame, regions, settings = self._frame, self._regions, dict(self._settings)
        slide = printable(Path(os.path.basename(os.path.abspath(self._path))))
        mask = _all_of(frame) if self._tissue is None else self._tissue
        height, width = frame.size
        slide_mm2 = height * width * (frame.mpp / 1000) ** 2
        analysed, areas, with_regions = float(mask.mean()), None, regions is not None
        if regions is not None:
            analysed, areas = regions.share_of_all(mask, frame.size), region_areas(regions, frame, mask)
            mask = mask & regions.mask(mask.shape, frame.size)
            settings["regions"] = regions.sha256
        tissue = TissueArea(frame, mask)
        ids, shapes = ObjectIds.of(printable(Path(self._source.name)), settings), self._shapes
        geojson = "nuclei.geojson.gz" if self._gzip else "nuclei.geojson"
        # First in, last out: the summary is finished when all others are.
        sinks: list[Sink] = [
            Summary(
                folder / "summary.json",
                frame,
                name=slide,
                source=self._source,
                area_mm2=slide_mm2 * analysed,
                tissue=tissue,
                masked=self._masked,
                regions=areas,
                left_out=self._left_out,
                implausible=self._implausible,
                config=self._config,
                seconds=self._seconds,
            )
        ]
        makers = {
            "geojson": lambda: GeoJson(
                folder / geojson, frame, ids=ids, shapes=shapes, compressed=self._gzip
            ),
            "csv": lambda: CsvTable(
                folder / "nuclei.csv", frame, slide=slide, ids=ids, with_regions=with_regions
            ),
            "parquet": lambda: ParquetTable(
                folder / "nuclei.parquet",
                frame,
                slide=slide,
                ids=ids,
                shapes=shapes,
                with_regions=with_regions,
                rows=self._limits.rows,
            ),
            "neighbours": lambda: NeighbourTable(
                folder / "neighbours.csv", folder / "neighbours.parquet", frame, slide=slide, tissue=tissue
            ),
            "labels": lambda: label_map(folder / self._labels, frame, self._limits, self._scratch),
            "overlay": lambda: Overlay(folder / "overlay.png", frame, thumbnail=self._thumbnail),
            "density": lambda: DensityMap(folder / "density.tif", folder / "density.png", frame, tissue=mask),
        }
        makers |= self._extra_makers(folder, slide, ids)
        return sinks + [make() for name, make in makers.items() if name in self._formats]

    def _extra_makers(self, folder: Path, slide: str, ids: ObjectIds) -> dict[str, Callable[[], Sink]]:
        frame, source, shapes = self._frame, self._source, self._shapes
        return {
            "spatialdata": lambda: SpatialDataZarr(
                folder / "nuclei.zarr",
                frame,
                slide=slide,
                source=source,
                ids=ids,
                shapes=shapes,
                config=self._config,
                with_regions=self._regions is not None,
                limits=self._limits,
            ),
            "dicom": lambda: DicomAnnotations(
                folder / "nuclei.dcm", frame, source=source, shapes=shapes, say=self._say
            ),
        }


def _all_of(frame: Frame) -> NDArray[np.bool_]:
    """A mask of a slide that is tissue everywhere."""
    height, width = (max(1, round(side * frame.mpp / MASK_MPP)) for side in frame.size)
    return np.ones((height, width), bool)


def check_formats(
    formats: Collection[str] | None,
    before: str = "",
    *,
    simplify_um: float | None = None,
    gzip: bool = False,
) -> None:
    """Look whether formats can be written.

    Args:
        formats: names; None: `FORMATS`.
        before: what a message of a name begins with.
        simplify_um, gzip: as of `Exports`.

    Raises:
        UserError: one is neither of `FORMATS` nor of `EXTRA_FORMATS`; an option is of formats that are not
            written, or no distance.
        MissingExtraError: the packages of one are not installed.
    """
    if unknown := sorted(set(formats or ()) - FORMATS.keys() - EXTRA_FORMATS.keys()):
        raise UserError(
            f"{before}no such format: {', '.join(unknown)}. There are: {', '.join(FORMATS | EXTRA_FORMATS)}"
        )
    written = set(FORMATS if formats is None else formats)
    if gzip and "geojson" not in written:
        raise UserError("--gzip: is for geojson, which is not among --formats. Add it, or leave --gzip out")
    if simplify_um is not None:
        check_simplify(simplify_um)
        if not written & set(_WITH_OUTLINES):
            raise UserError(
                f"--simplify: is for {', '.join(_WITH_OUTLINES)}, which are not among --formats. Add one, or "
                "leave --simplify out"
            )
    check_installed(formats or ())
