"""Endpoints of corrections: what they are, saving them, and the corrected nuclei as a file."""

from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nucseg_jax.errors import DataError
from nucseg_jax.view.corrections import corrected_geojson
from nucseg_jax.view.corrections.document import parsed
from nucseg_jax.view.corrections.merged_outline import merged_outline, read_outlines
from nucseg_jax.view.corrections.store import CorrectionStore, OutdatedError, check
from nucseg_jax.view.library import Library, ListedResult
from nucseg_jax.view.nuclei.index import NucleiIndex
from nucseg_jax.view.nuclei.sources import read_parts, source_of
from nucseg_jax.view.results.store import ResultStore, frame_of
from nucseg_jax.view.routes.downloads import PassingFileResponse, slide_name
from nucseg_jax.view.routes.parameters import json_body

MOST_BYTES = 16 << 20
"""Of corrections in JSON."""

_EARLIER = (
    "this result has been made anew since it was corrected, and those corrections are of other nuclei. They "
    "are kept, and are there again with the earlier result"
)


class CorrectionRoutes:
    """Endpoints of corrections.

    Args:
      library: knows the results.
      results: have their indexes.
      store: keeps corrections.
    """

    def __init__(self, library: Library, results: ResultStore, store: CorrectionStore) -> None:
        self._library, self._results, self._store = library, results, store
        base = "/results/{id}"
        self.routes = [
            Route(f"{base}/corrections", self.corrections),
            Route(f"{base}/corrections", self.save, methods=["PUT"]),
            Route(f"{base}/corrected.geojson", self.corrected),
            Route("/merged-outline", self.merged, methods=["POST"]),
        ]

    def corrections(self, request: Request) -> Response:
        """The corrections of a result."""
        result, index = self._found(request)
        found = self._store.load(result.id, index.digest)
        notes = [_EARLIER] if self._store.earlier(result.id, index.digest) else []
        return JSONResponse({**found.document(), "notes": notes})

    async def merged(self, request: Request) -> Response:
        """One outline around several."""
        outlines = read_outlines(await json_body(request))
        return JSONResponse({"polygon": await run_in_threadpool(merged_outline, outlines)})

    async def save(self, request: Request) -> Response:
        """Replace them."""
        document = await json_body(request, MOST_BYTES)
        return JSONResponse({"version": await run_in_threadpool(self._save, request, document)})

    def corrected(self, request: Request) -> Response:
        """The corrected nuclei as GeoJSON, of the checked regions or of the whole slide."""
        scope = request.query_params.get("scope", "regions")
        if scope not in ("regions", "all"):
            raise HTTPException(400, "scope must be regions or all")
        result, index = self._found(request)
        _check_outlines(index)
        found = self._store.load(result.id, index.digest)
        if scope == "regions" and not found.regions:
            raise HTTPException(
                409,
                "no region is marked as checked. Mark those in which all nuclei are right, or ask for the "
                "whole slide with ?scope=all",
            )
        path = self._store.temporary("corrected.geojson")
        corrected_geojson.write(
            path,
            read_parts(source_of(result.file), None),
            found,
            origin=f"{result.id} {index.digest}",
            whole_slide=scope == "all",
        )
        name = f"{Path(slide_name(self._library, result)).stem}.geojson"
        return PassingFileResponse(path, media_type="application/geo+json", filename=name)

    def _save(self, request: Request, document: Any) -> int:
        result, index = self._found(request)
        corrections = parsed(document)
        _check_outlines(index)
        check(corrections, index.ids, frame_of(result).size)
        try:
            return self._store.save(result.id, index.digest, corrections)
        except OutdatedError as error:
            raise HTTPException(409, str(error)) from error

    def _found(self, request: Request) -> tuple[ListedResult, NucleiIndex]:
        result = self._library.result(request.path_params["id"])
        return result, self._results.index(result)


def _check_outlines(index: NucleiIndex) -> None:
    """Raise DataError for a result that has no outlines, which cannot be corrected."""
    if not index.about.levels:
        raise DataError(
            "this result has no outlines of nuclei, so it cannot be corrected. Run nucseg predict again with "
            "--formats parquet and --overwrite"
        )
