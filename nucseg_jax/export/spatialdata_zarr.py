"""Nuclei for the packages of scverse: nuclei.zarr, which `spatialdata.read_zarr` reads.

`nuclei` are the outlines, in base pixels; the same as in GeoJSON. The table `measurements` has a row for each
of them, in the same order. Both have the coordinate systems `global` (base pixels) and `um`.

The slide is not copied, and neither is its label map, which would be a raster as large as the slide, and lies
beside this as labels.ome.tif: `attrs["nucseg_jax"]` says where the slide is.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

import nucseg_jax
from nucseg_jax.export.batches import Batch
from nucseg_jax.export.corners import base_px, measurements_of, outlines_of
from nucseg_jax.export.extra_formats import check_installed
from nucseg_jax.export.measurements import Measurements
from nucseg_jax.export.outlines import Outlines
from nucseg_jax.export.sinks import Sink
from nucseg_jax.io.files import appearing_folder, printable
from nucseg_jax.nuclei import Frame

if TYPE_CHECKING:
    from anndata import AnnData
    from geopandas import GeoDataFrame

SHAPES, TABLE = "nuclei", "measurements"
GLOBAL, UM = "global", "um"
INSTANCE_KEY, REGION_KEY, REGION_OF_INTEREST = "id", "region", "region_of_interest"
"""Columns of the table's `obs`: the nucleus, the name of its shapes, and the region it was looked for in."""

VARIABLES = tuple(field.name for field in fields(Measurements) if field.name != "id")
"""Of the table: the columns of nuclei.csv, but `id`."""


class _Part(NamedTuple):
    """A batch's nuclei, kept until all are known: about 8 bytes a corner and 150 a nucleus.

    Attributes:
        outlines: with corners of int32.
        ids: int64 `[M]`.
        values: float64 `[M, V]`, of `VARIABLES`.
        regions: `[M]`, the first region of interest that holds each; "" where none does.
    """

    outlines: Outlines
    ids: NDArray[np.int64]
    values: NDArray[np.float64]
    regions: list[str]


class SpatialDataZarr(Sink):
    """A SpatialData of shapes and a table; without nuclei it has neither, and only `attrs`.

    It holds all outlines, and at the end about TODO KB a nucleus.

    Args:
        path: of the folder.
        frame: the slide.
        source: the slide's file.
        config: what the run was told, as JSON can hold it; read at the end, so that it can still change.
        with_regions: nuclei were looked for in regions.

    Raises:
        MissingExtraError: the extra `spatialdata` is not installed.
    """

    def __init__(
        self,
        path: Path,
        frame: Frame,
        *,
        source: Path,
        config: Mapping[str, Any],
        with_regions: bool = False,
    ) -> None:
        super().__init__(frame)
        check_installed(["spatialdata"])
        self._path = path
        self._source, self._config = source, config
        self._with_regions = with_regions
        self.makers = (outlines_of, measurements_of)
        self._parts: list[_Part] = []

    def _open(self, stack: ExitStack) -> None:
        """Nothing: the folder is written when all nuclei are known."""

    def _write(self, batch: Batch) -> None:
        outlines, found = batch.made(outlines_of), batch.made(measurements_of)
        self._parts.append(
            _Part(
                Outlines(
                    outlines.x.astype(np.int32),
                    outlines.y.astype(np.int32),
                    outlines.ring_start,
                    outlines.nucleus_start,
                ),
                batch.ids,
                np.stack([np.asarray(getattr(found, name), np.float64) for name in VARIABLES], axis=1),
                [names[0] if names else "" for names in batch.canvas.regions] if self._with_regions else [],
            )
        )

    def _finish(self) -> None:
        import anndata
        from spatialdata import SpatialData

        elements: dict[str, Any] = {}
        if self._parts:
            elements["tables"] = {TABLE: self._table()}  # before the shapes, which take up its memory
            elements["shapes"] = {SHAPES: self._shapes()}
        written = SpatialData(**elements, attrs={"nucseg_jax": self._about()})
        with appearing_folder(self._path) as temporary:
            temporary.rmdir()  # it makes its own, and takes no other
            # No shards: not all programs that read zarr know them. (Unset, the default is about to change.)
            with anndata.settings.override(auto_shard_zarr_v3=False):
                written.write(temporary)

    def _shapes(self) -> GeoDataFrame:
        from geopandas import GeoDataFrame
        from spatialdata.models import ShapesModel
        from spatialdata.transformations import Identity, Scale

        ids = np.concatenate([part.ids for part in self._parts])
        shapes = np.empty(len(ids), object)
        begin = 0
        while self._parts:
            part = self._parts.pop(0)
            shapes[begin : begin + len(part.ids)] = polygons(part.outlines, self._frame)
            begin += len(part.ids)
        mpp = self._frame.mpp
        return ShapesModel.parse(
            GeoDataFrame(geometry=shapes, index=ids),
            transformations={GLOBAL: Identity(), UM: Scale([mpp, mpp], axes=("x", "y"))},
        )

    def _table(self) -> AnnData:
        import pandas
        from anndata import AnnData
        from spatialdata.models import TableModel

        ids = np.concatenate([part.ids for part in self._parts])
        values = np.concatenate([part.values for part in self._parts])
        obs = pandas.DataFrame({INSTANCE_KEY: ids}, index=pandas.Index(ids.astype(str)))
        obs[REGION_KEY] = pandas.Categorical.from_codes(np.zeros(len(ids), np.int8), [SHAPES])
        if self._with_regions:
            names = [name for part in self._parts for name in part.regions]
            obs[REGION_OF_INTEREST] = pandas.Categorical(names)
        places = [VARIABLES.index(f"centroid_{axis}_px") for axis in "xy"]
        table = AnnData(
            X=values,
            obs=obs,
            var=pandas.DataFrame(index=pandas.Index(VARIABLES)),
            obsm={"spatial": values[:, places]},  # where squidpy looks for them
        )
        return TableModel.parse(table, region=SHAPES, region_key=REGION_KEY, instance_key=INSTANCE_KEY)

    def _about(self) -> dict[str, Any]:
        frame = self._frame
        return {
            "version": nucseg_jax.__version__,
            "slide": {
                "path": printable(self._source),
                "size_px": list(frame.size),
                "mpp": frame.mpp,
                "network_mpp": frame.network_mpp,
                "offset_px": {"x": frame.offset[1], "y": frame.offset[0]},
            },
            "config": dict(self._config),
        }


def polygons(outlines: Outlines, frame: Frame) -> NDArray[np.object_]:
    """Polygons of shapely `[M]`, in base pixels."""
    rings = len(outlines.ring_start) - 1
    # Each ring's first corner comes again behind its last.
    closed_start = outlines.ring_start + np.arange(rings + 1)
    corner = np.arange(closed_start[-1]) - np.repeat(np.arange(rings), np.diff(closed_start))
    corner[closed_start[1:] - 1] = outlines.ring_start[:-1]
    points = base_px(frame, outlines.x, outlines.y)[corner]
    made: NDArray[np.object_] = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, points, (closed_start, outlines.nucleus_start)
    )
    return made
