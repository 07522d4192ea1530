"""The endpoint of a result's summary, a page to save."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from nucseg_jax.errors import DataError
from nucseg_jax.view.corrections.store import CorrectionStore
from nucseg_jax.view.library import Library, ListedResult
from nucseg_jax.view.results.store import ResultStore, frame_of
from nucseg_jax.view.routes.downloads import attachment, slide_name
from nucseg_jax.view.slides.displayed_slide import DisplayedSlide
from nucseg_jax.view.slides.open_slides import OpenSlides
from nucseg_jax.view.summary.page import Corrected, page
from nucseg_jax.view.summary.pictures import pictures


class SummaryRoutes:
    """The endpoint of summaries.

    Args:
      library: knows the results.
      results: have their indexes.
      slides: opens slides.
      corrections: of the results.
    """

    def __init__(
        self, library: Library, results: ResultStore, slides: OpenSlides, corrections: CorrectionStore
    ) -> None:
        self._library, self._results, self._slides = library, results, slides
        self._corrections = corrections
        self.routes = [Route("/results/{id}/summary.html", self.summary)]

    def summary(self, request: Request) -> Response:
        """One page of a result."""
        result = self._library.result(request.path_params["id"])
        index, frame = self._results.index(result), frame_of(result)
        with self._slide(result) as slide:
            seen = pictures(result, frame, slide)
        corrections = self._corrections.load(result.id, index.digest)
        name = slide_name(self._library, result)
        html = page(
            result,
            index,
            frame,
            seen,
            slide=name,
            corrected=Corrected(len(corrections.gone()), len(corrections.added)),
            now=datetime.now(UTC),
        )
        return HTMLResponse(html, headers=attachment(f"{Path(name).stem}_summary.html"))

    @contextlib.contextmanager
    def _slide(self, result: ListedResult) -> Iterator[DisplayedSlide | None]:
        """The slide of a result; None where it is not to be had, or cannot be opened."""
        with contextlib.ExitStack() as stack:
            slide = None
            if result.slide is not None:
                with contextlib.suppress(DataError):
                    opening = self._library.slide(result.slide).opening
                    slide = stack.enter_context(self._slides.using(opening))
            yield slide
