"""Nuclei for the packages of scverse: nuclei.zarr, which `spatialdata.read_zarr` reads.

`nuclei` are the outlines, in base pixels; the same as in GeoJSON. The table `measurements` has a row for each
of them, in the same order. Both have the coordinate systems `global` (base pixels) and `um`.

The slide is not copied, and neither is its label map, which would be a raster as large as the slide, and lies
beside this as labels.ome.tif: `attrs["nucseg_jax"]` says where the slide is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import nucseg_jax
from nucseg_jax.export.batches import Batch, measurements_of
from nucseg_jax.export.extra_formats import check_installed
from nucseg_jax.export.limits import USUAL_LIMITS, Limits
from nucseg_jax.export.object_ids import ObjectIds
from nucseg_jax.export.polygons import Shapes, polygons
from nucseg_jax.export.shapes_parquet import ShapesParquet
from nucseg_jax.export.sinks import Sink
from nucseg_jax.export.table import MEASURED, region_names
from nucseg_jax.io.files import appearing_folder, printable
from nucseg_jax.io.leftovers import scratch_folder
from nucseg_jax.nuclei import Frame

if TYPE_CHECKING:
    from anndata import AnnData

SHAPES, TABLE = "nuclei", "measurements"
GLOBAL, UM = "global", "um"
INSTANCE_KEY, REGION_KEY, REGION_OF_INTEREST = "id", "region", "region_of_interest"
"""Columns of the table's `obs`: the nucleus, the name of its shapes, and the region it was looked for in.

Beside them `slide` and `object_id`, as in nuclei.csv.
"""

_BATCHES_AT_ONCE = 16  # that become a row group of the shapes


class SpatialDataZarr(Sink):
    """A SpatialData of shapes and a table; without nuclei it has neither, and only `attrs`.

    It holds the measurements of all nuclei, and at the end about 1 KB a nucleus; outlines go to the disk.

    Args:
        path: of the folder.
        frame: the slide.
        slide: its name, for the column `slide`.
        source: the slide's file.
        ids: makes the column `object_id`.
        shapes: makes the outlines.
        config: what the run was told, as JSON can hold it; read at the end, so that it can still change.
        with_regions: nuclei were looked for in regions.
        limits: how much of the outlines it holds in memory.

    Raises:
        MissingExtraError: the extra `spatialdata` is not installed.
    """

    def __init__(
        self,
        path: Path,
        frame: Frame,
        *,
        slide: str,
        source: Path,
        ids: ObjectIds,
        shapes: Shapes,
        config: Mapping[str, Any],
        with_regions: bool = False,
        limits: Limits = USUAL_LIMITS,
    ) -> None:
        super().__init__(frame, limits)
        check_installed(["spatialdata"])
        self._path = path
        self._slide, self._source, self._config = slide, source, config
        self._object_ids, self._outlines = ids, shapes
        self._with_regions = with_regions
        self.makers = (ids, shapes, measurements_of)
        self._scratch: Path
        self._shapes: ShapesParquet
        self._ids: list[NDArray[np.int64]] = []
        self._uuids: list[str] = []
        self._values: list[NDArray[np.float64]] = []
        self._regions: list[str] = []

    def _open(self, stack: ExitStack) -> None:
        self._scratch = stack.enter_context(scratch_folder(self._path.parent)) / "shapes.parquet"
        at_once = _BATCHES_AT_ONCE * self._limits.nuclei
        self._shapes = stack.enter_context(ShapesParquet(self._scratch, at_once))

    def _write(self, batch: Batch) -> None:
        found = batch.made(measurements_of)
        self._shapes.add(batch.ids, polygons(batch.made(self._outlines), self._frame))
        self._ids.append(batch.ids)
        self._uuids += batch.made(self._object_ids)
        self._values.append(
            np.stack([np.asarray(getattr(found, name), np.float64) for name in MEASURED], axis=1)
        )
        if self._with_regions:
            self._regions += region_names(batch)

    def _finish(self) -> None:
        import anndata
        from spatialdata import SpatialData
        from spatialdata.models import ShapesModel
        from spatialdata.transformations import Identity, Scale

        self._shapes.finish()
        elements: dict[str, Any] = {}
        mpp = self._frame.mpp
        if self._shapes.first is not None:
            systems = {GLOBAL: Identity(), UM: Scale([mpp, mpp], axes=("x", "y"))}
            elements["shapes"] = {SHAPES: ShapesModel.parse(self._shapes.first, transformations=systems)}
            elements["tables"] = {TABLE: self._table()}
        written = SpatialData(**elements, attrs={"nucseg_jax": self._about()})
        with appearing_folder(self._path) as temporary:
            temporary.rmdir()  # it makes its own, and takes no other
            # No shards: not all programs that read zarr know them. (Unset, the default is about to change.)
            with anndata.settings.override(auto_shard_zarr_v3=False):
                written.write(temporary)
            if elements:  # all shapes in place of the first
                os.replace(self._scratch, temporary / "shapes" / SHAPES / "shapes.parquet")

    def _table(self) -> AnnData:
        import pandas
        from anndata import AnnData
        from spatialdata.models import TableModel

        ids, values = np.concatenate(self._ids), np.concatenate(self._values)
        self._values = []  # hundreds of megabytes
        obs = pandas.DataFrame({INSTANCE_KEY: ids}, index=pandas.Index(ids.astype(str)))
        obs["slide"] = pandas.Categorical.from_codes(np.zeros(len(ids), np.int8), [self._slide])
        obs["object_id"] = self._uuids
        obs[REGION_KEY] = pandas.Categorical.from_codes(np.zeros(len(ids), np.int8), [SHAPES])
        if self._with_regions:
            obs[REGION_OF_INTEREST] = pandas.Categorical(self._regions)
        places = [MEASURED.index(f"centroid_{axis}_px") for axis in "xy"]
        table = AnnData(
            X=values,
            obs=obs,
            var=pandas.DataFrame(index=pandas.Index(MEASURED)),
            obsm={"spatial": values[:, places]},  # where squidpy looks for them
        )
        return TableModel.parse(table, region=SHAPES, region_key=REGION_KEY, instance_key=INSTANCE_KEY)

    def _about(self) -> dict[str, Any]:
        frame = self._frame
        return {
            "version": nucseg_jax.__version__,
            "slide": {
                "name": self._slide,
                "path": printable(self._source),
                "size_px": list(frame.size),
                "mpp": frame.mpp,
                "network_mpp": frame.network_mpp,
                "offset_px": {"x": frame.offset[1], "y": frame.offset[0]},
            },
            "config": dict(self._config),
        }
