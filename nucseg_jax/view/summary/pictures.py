"""Pictures of a summary: the slide, and beside it its nuclei or how dense they are, within the page."""

import base64
import contextlib
import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from nucseg_jax.errors import DataError
from nucseg_jax.export.density import CELL_UM
from nucseg_jax.nuclei import Frame
from nucseg_jax.slides import read_image
from nucseg_jax.view.library import ListedResult
from nucseg_jax.view.results import density_overlay
from nucseg_jax.view.slides.displayed_slide import DisplayedSlide

MOST_PX = 900
"""Of the longer side: 250 dots an inch of paper, where two are side by side on A4."""

_LEAST_SQUARES = 30  # of a density map along the longer side: of fewer it shows nothing


class Density(NamedTuple):
    """The density map.

    Attributes:
      uri: PNG, white where there is no tissue.
      top_per_mm2: the end of the scale of colours, which begins at 0.
      colours: (r, g, b) at even steps of it.
      cell_um: side of a square.
    """

    uri: str
    top_per_mm2: float
    colours: list[tuple[int, int, int]]
    cell_um: float


class Pictures(NamedTuple):
    """What there is to see; None where it is not to be had.

    Attributes:
      slide: JPEG.
      overlay: JPEG, the nuclei on the slide; None where there is a density map that shows something.
      density: of a slide that is large enough for it.
    """

    slide: str | None
    overlay: str | None
    density: Density | None


def pictures(result: ListedResult, frame: Frame, slide: DisplayedSlide | None) -> Pictures:
    """Make the pictures of a result.

    Args:
      result: whose files are used; those that are damaged are left out.
      frame: of the result.
      slide: that it is of; None where that is not to be had.
    """
    density_file, overlay_file = result.file("density.tif"), result.file("overlay.png")
    of_slide = overlay = density = None
    with contextlib.suppress(DataError, OSError):
        of_slide = None if slide is None else _jpeg(_whole(slide))
    large = max(frame.size) * frame.mpp >= _LEAST_SQUARES * CELL_UM
    if density_file is not None and (large or overlay_file is None):
        with contextlib.suppress(DataError):
            density = _density(density_file, frame)
    if overlay_file is not None and density is None:
        with contextlib.suppress(DataError, OSError):
            overlay = _jpeg(Image.fromarray(read_image(overlay_file).pixels))
    return Pictures(of_slide, overlay, density)


def _whole(slide: DisplayedSlide) -> Image.Image:
    """The whole slide, of the coarse pictures that its tiles are made of."""
    scale = 1
    while max(slide.level_size(2 * scale)) >= MOST_PX:
        scale *= 2
    return Image.fromarray(slide.region(scale, 0, 0, *slide.level_size(scale)))


def _density(path: Path, frame: Frame) -> Density:
    about = density_overlay.about(path, frame)
    top = about["top_per_mm2"]
    squares: Image.Image = Image.open(io.BytesIO(density_overlay.picture(path, top)))
    white = Image.new("RGBA", squares.size, "white")
    squares = Image.alpha_composite(white, squares).convert("RGB")
    height, width = frame.size
    side_px = about["cell_um"] / frame.mpp
    # The last squares reach over the slide's edge.
    box = (0, 0, min(width / side_px, squares.width), min(height / side_px, squares.height))
    ratio = MOST_PX / max(frame.size)
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    picture = squares.resize(size, Image.Resampling.NEAREST, box)
    colours = [(int(red), int(green), int(blue)) for red, green, blue in about["colours"]]
    return Density(_uri(picture, "PNG"), top, colours, about["cell_um"])


def _jpeg(picture: Image.Image) -> str:
    if max(picture.size) > MOST_PX:
        picture.thumbnail((MOST_PX, MOST_PX), Image.Resampling.LANCZOS)
    return _uri(picture, "JPEG", quality=88, subsampling=0)


def _uri(picture: Image.Image, kind: str, **options: int) -> str:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
