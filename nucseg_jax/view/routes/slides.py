"""Endpoints of slides: what there is, and their tiles."""

import re

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nucseg_jax.view.library import Library
from nucseg_jax.view.routes.parameters import whole
from nucseg_jax.view.slides.deep_zoom import NoTileError, TileCache, TilePlace, descriptor, last_level, tile
from nucseg_jax.view.slides.open_slides import OpenSlides

_KEPT = {"Cache-Control": "private, max-age=86400, immutable"}  # the address changes with every start


class SlideRoutes:
    """Endpoints of slides.

    Args:
      library: knows the slides.
      slides: opens them.
    """

    def __init__(self, library: Library, slides: OpenSlides) -> None:
        self._library, self._slides = library, slides
        self._tiles = TileCache()
        self.routes = [
            Route("/slides/{id}.dzi", self.descriptor),
            Route("/slides/{id}_files/{level}/{tile}", self.tile),
            Route("/slides/{id}", self.slide),
        ]

    def slide(self, request: Request) -> Response:
        """What is known of a slide."""
        listed = self._library.slide(request.path_params["id"])
        with self._slides.using(listed.opening) as slide:
            height, width = slide.size
            return JSONResponse(
                {
                    "id": listed.id,
                    "name": listed.name,
                    "width": width,
                    "height": height,
                    "mpp": slide.mpp,
                    "mpp_source": slide.mpp_source,
                    "last_level": last_level(slide.size),
                    "notes": list(slide.notes),
                }
            )

    def descriptor(self, request: Request) -> Response:
        """The Deep Zoom descriptor."""
        listed = self._library.slide(request.path_params["id"])
        with self._slides.using(listed.opening) as slide:
            return Response(descriptor(slide.size), media_type="application/xml")

    def tile(self, request: Request) -> Response:
        """A tile as JPEG."""
        listed = self._library.slide(request.path_params["id"])
        name = re.fullmatch("([0-9]{1,9})_([0-9]{1,9})[.]jpg", request.path_params["tile"])
        if name is None:
            raise HTTPException(404, "tiles are called COLUMN_ROW.jpg")
        place = TilePlace(whole(request.path_params["level"], "level"), int(name[1]), int(name[2]))
        content = self._tiles.get(listed.id, place)
        if content is None:
            try:
                with self._slides.using(listed.opening) as slide:
                    content = tile(slide, place)
            except NoTileError as error:
                raise HTTPException(404, f"there is no such tile: {error}") from error
            self._tiles.put(listed.id, place, content)
        return Response(content, media_type="image/jpeg", headers=_KEPT)
