"""The command's figure: images before and after, and each of their stains alone."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nucseg_jax.io.images import check_image
from nucseg_jax.stain.normalization import NoStyle, Stains, Style
from nucseg_jax.stain.normalizers import VahadaneNormalizer

MOST_ROWS = 6
"""Images that are drawn; of the others the number is said."""

_STAINS = ("hematoxylin", "eosin")
_WIDTH = 320  # px, of a column
_TALLEST = 480  # px, of a picture
_MOST_ENLARGED = 8
_MARGIN, _GAP, _LINE = 16, 10, 26
_TITLE, _COLUMN_TITLE, _TEXT = 22, 18, 15  # px, of the letters
_SWATCH_WIDTH, _SWATCH_HEIGHT = 34, 14
_SWATCH_DENSITY = 1.5  # as dark as a strongly stained place
_INK, _FRAME, _PAPER = (0, 0, 0), (200, 200, 200), (255, 255, 255)


class Row(NamedTuple):
    """One image.

    Attributes:
      name: of its file.
      original: uint8 [H, W, 3]; what is drawn of it is what `shrink` leaves.
      normalised: the same.
      style: that it was taken to have.
      found: False: it showed no stains, and `style` is the target's.
    """

    name: str
    original: np.ndarray
    normalised: np.ndarray
    style: Style
    found: bool


class _Caption(NamedTuple):
    """A line of text, after a swatch if it has a colour."""

    text: str
    colour: tuple[int, int, int] | None = None
    size: int = _TEXT


def before_after(
    rows: Sequence[Row],
    *,
    method: str,
    target: Style,
    target_name: str,
    target_image: np.ndarray | None,
    count: int,
    together: bool = False,
) -> np.ndarray:
    """A contact sheet: the target, then a row an image, at most MOST_ROWS.

    A row has the image, the normalised image and, for methods that separate stains, each stain alone as it
    lies in the image: 255 · exp(−c s) with the image's own c and s. The colours in the captions are those of
    the stain vectors. Letters that the font lacks, most outside of ASCII, are drawn as boxes.

    Args:
      rows: the images.
      method: its name.
      target: the fitted style.
      target_name: the target's file name.
      target_image: uint8 [H, W, 3]; None: not at hand.
      count: how many images there were in all.
      together: they have one style, not each its own.

    Returns:
      uint8 [H, W, 3]. Pictures are at most 320 px wide and 480 px high; small ones are enlarged by a whole
      number, at most 8.

    Raises:
      ValueError: an image is no uint8 [H, W, 3].
    """
    has_stains = isinstance(target, Stains)
    titles = ["original", "normalised", *(f"{stain} alone" for stain in _STAINS if has_stains)]
    columns = len(titles)
    strips = [_header(columns, method, target, target_name, target_image, together)]
    strips.append(_captions([_Caption(title, size=_COLUMN_TITLE) for title in titles]))
    for row in rows[:MOST_ROWS]:
        strips.append(_pictures(row, columns))
        strips.append(_captions([_Caption(row.name), _Caption(_finding(row)), *_stain_captions(row.style)]))
        strips.append(_blank(columns, _GAP))
    more = count - len(rows[:MOST_ROWS])
    if more > 0:
        strips.append(_captions([_Caption(f"and {more} more"), *[_Caption("")] * (columns - 1)]))
    margin = _blank(columns, _MARGIN)
    return np.vstack([np.asarray(strip) for strip in (margin, *strips, margin)])


def shrink(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] as large as it is drawn at most, in its proportions; a smaller one as it is.

    Raises:
      ValueError: no uint8 [H, W, 3].
    """
    check_image(image)
    height, width = image.shape[:2]
    scale = min(_WIDTH / width, _TALLEST / height)
    if scale >= 1:
        return image
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def _header(
    columns: int, method: str, target: Style, name: str, image: np.ndarray | None, together: bool
) -> Image.Image:
    """The target's picture, and right of it in words what was done."""
    lines = [
        _Caption(f"Stain normalisation: {method}", size=_TITLE),
        _Caption(f"target: {name}"),
        *_stain_captions(target),
    ]
    if not isinstance(target, NoStyle):
        source = "the colours of all images together" if together else "each image's own colours"
        lines.append(_Caption(f"from {source}"))
    picture = None if image is None else _enlarged(shrink(image))
    height = max(_LINE * len(lines), 0 if picture is None else picture.height + 2) + 2 * _GAP
    strip = _blank(columns, height)
    draw = ImageDraw.Draw(strip)
    if picture is not None:
        _paste(strip, picture, 0)
    first = 0 if picture is None else 1
    for i, line in enumerate(lines):
        _draw(draw, line, _left(first), _LINE * i + _LINE // 2, _right(columns - 1) - _left(first))
    return strip


def _pictures(row: Row, columns: int) -> Image.Image:
    original = shrink(row.original)
    images = [original, shrink(row.normalised)]
    if isinstance(row.style, Stains):
        images += [_alone(original, row.style, stain) for stain in range(len(_STAINS))]
    pictures = [_enlarged(image) for image in images]
    strip = _blank(columns, pictures[0].height + 2)
    for column, picture in enumerate(pictures):
        _paste(strip, picture, column)
    return strip


def _paste(strip: Image.Image, picture: Image.Image, column: int) -> None:
    """Put a picture into a column, 1 px below the edge, in a frame that shows where white ones are."""
    left = _left(column)
    frame = (left - 1, 0, left + picture.width, picture.height + 1)
    ImageDraw.Draw(strip).rectangle(frame, outline=_FRAME)
    strip.paste(picture, (left, 1))


def _alone(image: np.ndarray, stains: Stains, stain: int) -> np.ndarray:
    """The image with none of its other stain."""
    normalizer = VahadaneNormalizer()  # any method with stain vectors separates with given ones
    kept = np.eye(2, dtype=np.float32)[stain]
    normalizer.target = Stains(stains.matrix, stains.max_concentrations * kept)
    return normalizer.transform(image, source=stains)


def _enlarged(image: np.ndarray) -> Image.Image:
    """Small images several times as large, with square pixels."""
    height, width = image.shape[:2]
    times = max(1, min(_WIDTH // width, _TALLEST // height, _MOST_ENLARGED))
    return Image.fromarray(image.repeat(times, axis=0).repeat(times, axis=1))


def _finding(row: Row) -> str:
    if isinstance(row.style, NoStyle):
        return ""
    return "stains found" if row.found else "no stains found: taken as the target's"


def _stain_captions(style: Style) -> list[_Caption]:
    """A line for each stain vector, with its colour; none for styles without."""
    if not isinstance(style, Stains):
        return []
    colours = np.rint(255 * np.exp(-_SWATCH_DENSITY * np.asarray(style.matrix, np.float64))).astype(int)
    return [
        _Caption(f"{stain}, max. concentration {strongest:.2f}", (int(red), int(green), int(blue)))
        for stain, strongest, (red, green, blue) in zip(
            _STAINS, style.max_concentrations, colours, strict=True
        )
    ]


def _captions(captions: Sequence[_Caption]) -> Image.Image:
    """A line, one caption a column."""
    strip = _blank(len(captions), _LINE)
    draw = ImageDraw.Draw(strip)
    for column, caption in enumerate(captions):
        _draw(draw, caption, _left(column), _LINE // 2, _WIDTH)
    return strip


def _draw(draw: ImageDraw.ImageDraw, caption: _Caption, left: int, middle: int, width: int) -> None:
    """Draw a caption right of `left`, as much of it as `width` has room for."""
    if caption.colour is not None:
        top = middle - _SWATCH_HEIGHT // 2
        box = (left, top, left + _SWATCH_WIDTH, top + _SWATCH_HEIGHT)
        draw.rectangle(box, fill=caption.colour, outline=_INK)
        left, width = left + _SWATCH_WIDTH + _GAP, width - _SWATCH_WIDTH - _GAP
    font = ImageFont.load_default(size=caption.size)
    # File names may hold line breaks, and bytes that are no text.
    text = "".join(letter if letter.isprintable() else "?" for letter in caption.text)
    shown = text
    for kept in range(len(text) - 1, 0, -1):
        if draw.textlength(shown, font=font) <= width:
            break
        # Names of one cohort begin alike and differ at the end.
        shown = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    draw.text((left, middle), shown, fill=_INK, font=font, anchor="lm")


def _blank(columns: int, height: int) -> Image.Image:
    return Image.new("RGB", (_right(columns - 1) + _MARGIN, height), _PAPER)


def _left(column: int) -> int:
    return _MARGIN + column * (_WIDTH + _GAP)


def _right(column: int) -> int:
    return _left(column) + _WIDTH
