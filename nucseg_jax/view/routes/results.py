"""Endpoints of results: their nuclei, figures of regions, the density map, and files to download."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from nucseg_jax.errors import in_short, listed
from nucseg_jax.view.library import Library, ListedResult
from nucseg_jax.view.nuclei.answer import pack
from nucseg_jax.view.nuclei.index import NucleiIndex, Rectangle
from nucseg_jax.view.nuclei.index_building import QUANTILES
from nucseg_jax.view.results import density_overlay
from nucseg_jax.view.results.facts import model_of, notes_of
from nucseg_jax.view.results.region_figures import figures, read_region
from nucseg_jax.view.results.store import ResultStore, frame_of
from nucseg_jax.view.routes.comparison import CompareRoutes
from nucseg_jax.view.routes.parameters import json_body, number, whole

DOWNLOADS = (
    *("nuclei.geojson", "nuclei.geojson.gz", "nuclei.csv", "nuclei.parquet", "neighbours.csv", "labels.tif"),
    *("neighbours.parquet", "labels.ome.tif", "overlay.png", "density.png", "density.tif", "summary.json"),
)
"""Files of a result that a client may have."""


class ResultRoutes:
    """Endpoints of results.

    Args:
      library: knows the results.
      store: has their indexes.
      comparisons: of two of them.
    """

    def __init__(self, library: Library, store: ResultStore, comparisons: CompareRoutes) -> None:
        self._library, self._store, self._comparisons = library, store, comparisons
        base = "/results/{id}"
        self.routes = [
            Route(base, self.result),
            Route(f"{base}/nuclei", self.nuclei),
            Route(f"{base}/nucleus", self.nucleus),
            Route(f"{base}/region", self.region, methods=["POST"]),
            Route(f"{base}/density", self.density),
            Route(f"{base}/density.png", self.density_picture),
            Route(f"{base}/files/{{name}}", self.download),
        ]

    def result(self, request: Request) -> Response:
        """What is known of a result; its nuclei are read in the background from now on."""
        result = self._result(request)
        index = self._store.index(result)
        frame = frame_of(result)
        height, width = frame.size
        return JSONResponse(
            {
                "id": result.id,
                "name": result.name,
                "slide": result.slide,
                "missing": result.missing,
                "truth": result.is_truth,
                "width": width,
                "height": height,
                "mpp": frame.mpp,
                "count": index.about.nuclei,
                "has_outlines": index.about.levels > 0,
                "quantiles": list(QUANTILES),
                "columns": {name: index.about.ranges[name] or None for name in index.about.columns},
                "nuclei": result.summary.get("nuclei"),
                "regions": result.summary.get("regions"),
                "model": model_of(result),
                "notes": [*notes_of(result), *index.told.notes],
                "files": [name for name in DOWNLOADS if result.file(name) is not None],
            }
        )

    def nuclei(self, request: Request) -> Response:
        """The nuclei of a rectangle, as `nuclei.answer` packs them."""
        result = self._result(request)
        index = self._store.index(result)
        left, top = number(request, "x"), number(request, "y")
        where = Rectangle(left, top, left + number(request, "w"), top + number(request, "h"))
        scale = number(request, "scale", default=1.0)
        content = pack(index, where, scale, self._values(request, result, index))
        return Response(content, media_type="application/octet-stream")

    def nucleus(self, request: Request) -> Response:
        """One nucleus, by its id or at a point."""
        index = self._store.index(self._result(request))
        row = self._row(request, index)
        if row is None:
            raise HTTPException(404, "there is no nucleus")
        return JSONResponse({**index.measurements(row), "outline": _outline(index, row)})

    async def region(self, request: Request) -> Response:
        """Figures of a drawn region."""
        document = await json_body(request)
        return JSONResponse(await run_in_threadpool(self._figures, self._result(request), document))

    def density(self, request: Request) -> Response:
        """How to lay the density map over the slide."""
        result = self._result(request)
        return JSONResponse(density_overlay.about(_density(result), frame_of(result)))

    def density_picture(self, request: Request) -> Response:
        """The density map as PNG."""
        result = self._result(request)
        path = _density(result)
        top = density_overlay.about(path, frame_of(result))["top_per_mm2"]
        return Response(density_overlay.picture(path, top), media_type="image/png")

    def download(self, request: Request) -> Response:
        """A file of the result."""
        result, name = self._result(request), request.path_params["name"]
        path = result.file(name) if name in DOWNLOADS else None
        if path is None:
            raise HTTPException(404, "the result has no such file")
        return FileResponse(path, filename=f"{result.name}_{name}")

    def _result(self, request: Request) -> ListedResult:
        return self._library.result(request.path_params["id"])

    def _values(self, request: Request, result: ListedResult, index: NucleiIndex) -> NDArray[Any]:
        """What nuclei are coloured by: a measurement, or their outcomes against another result."""
        if "against" in request.query_params:
            return self._comparisons.outcomes(request, result)
        value = request.query_params.get("value", "area_um2")
        if not index.about.nuclei:
            return np.empty(0)
        try:
            return index.column(value)
        except KeyError as error:
            there = listed(index.about.columns, most=30)
            raise HTTPException(
                400, f"value={in_short(value, 40)}: no such measurement. There are: {there}"
            ) from error

    def _figures(self, result: ListedResult, document: Any) -> dict[str, Any]:
        frame = frame_of(result)
        regions = read_region(document, frame)
        return figures(self._store.index(result), regions, frame, self._store.tissue(result))

    @staticmethod
    def _row(request: Request, index: NucleiIndex) -> int | None:
        if "id" in request.query_params:
            return index.row_of(whole(request.query_params["id"], "id"))
        return index.row_at(number(request, "x"), number(request, "y"))


def _outline(index: NucleiIndex, row: int) -> list[list[list[float]]] | None:
    """Rings of points, the outside first; None where the result has no outlines."""
    return [ring.tolist() for ring in index.rings(row)] if index.about.levels else None


def _density(result: ListedResult) -> Path:
    path = result.file("density.tif")
    if path is None:
        raise HTTPException(404, "the result has no density map")
    return path
