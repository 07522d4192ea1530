"""Pictures of one image: its tissue, its truth, and what each entry made of it.

Errors are told apart by lightness as well as by hue: yellow (missed), cyan (false), grey (right), orange
(merged) and violet (split) on almost black tissue. Yellow and orange lie on one side of blue–yellow, cyan
and violet on the other, and within each pair one is light and one dark, so the common colour blindnesses
tell them apart.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import find_boundaries

from nucseg_jax import drawing, metrics
from nucseg_jax.metrics.outcomes import Outcome, outcomes

MOST_PX = 400
"""Side of the part of an image that is drawn."""

TRUTH = drawing.TRUTH
COLOURS: dict[Outcome, drawing.Colour] = {
    Outcome.RIGHT: drawing.RIGHT,
    Outcome.MERGED: (225, 75, 10),
    Outcome.SPLIT: (115, 70, 240),
    Outcome.MISSED: drawing.MISSED,
    Outcome.FALSE: drawing.FALSE,
}
WORDS = {
    Outcome.RIGHT: "right",
    Outcome.MERGED: "merged: one prediction over several true nuclei",
    Outcome.SPLIT: "split: several predictions in one true nucleus",
    Outcome.MISSED: "missed (and the truth’s outlines)",
    Outcome.FALSE: "false",
}

_GREYS = 16
_INK, _BORDER = _GREYS + len(Outcome), _GREYS + len(Outcome) + 1
_PALETTE = np.array(
    [*((4 * i,) * 3 for i in range(_GREYS)), *(COLOURS[o] for o in Outcome), (0, 0, 0), (255, 255, 255)],
    np.uint8,
)
_COLUMNS = 4
_GAP = 14
_LINE = 21  # px
_LETTERS = 16  # px
_PAPER, _TEXT = (255, 255, 255), (0, 0, 0)

Window = tuple[slice, slice]


class Tile(NamedTuple):
    """A picture with two lines below: a name, and what there is to say."""

    image: NDArray[np.uint8]
    name: str
    remark: str


def window(shape: tuple[int, ...], most: int = MOST_PX) -> Window:
    """The middle of an image, at most `most` pixels high and wide."""
    tops = [max(0, (size - most) // 2) for size in shape[:2]]
    return slice(tops[0], tops[0] + most), slice(tops[1], tops[1] + most)


def enlarged(picture: NDArray[np.uint8], most: int = MOST_PX) -> NDArray[np.uint8]:
    """A small picture several times as large, in square pixels."""
    times = max(1, most // max(picture.shape[:2]))
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def shrunk(picture: NDArray[np.uint8], most: int = 1000) -> NDArray[np.uint8]:
    """Every second, third, … pixel of a picture that is larger than `most`."""
    step = math.ceil(max(picture.shape[:2]) / most)
    return picture[::step, ::step]


def outlined(
    image: NDArray[np.uint8], truth: NDArray[np.integer], unannotated: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """The image with the outlines of the true nuclei, dimmed where nobody annotated it."""
    drawn = image.copy()
    drawn[find_boundaries(truth, mode="thick")] = TRUTH
    return drawing.dimmed(drawn, unannotated)


def errors(
    image: NDArray[np.uint8],
    truth: NDArray[np.integer],
    prediction: NDArray[np.integer],
    part: Window,
    unannotated: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """A part of the darkened tissue with every nucleus in the colour of its outcome in the whole image.

    Predictions are filled. True nuclei that were missed fill what no prediction covers, and have an outline
    where one does. True nuclei that were merged have a white outline within the prediction. What nobody
    annotated is hatched, and nuclei that scores leave out (`metrics.cut_to_annotated`) are not drawn.

    Args:
      image: uint8 [H, W, 3].
      truth: int [H, W].
      prediction: int [H, W].
      part: what is drawn.
      unannotated: bool [H, W], or None: all is annotated.

    Returns:
      uint8 [h, w, 3], of at most 23 colours.
    """
    if unannotated is not None:
        truth, prediction = metrics.cut_to_annotated(truth, prediction, unannotated)
    found = outcomes(metrics.overlaps(truth, prediction))
    of_truth, of_prediction = _paint(truth, found.truth, part), _paint(prediction, found.prediction, part)
    image, truth, prediction = image[part], truth[part], prediction[part]
    drawn = (image.mean(axis=2) * (_GREYS - 1) / 255).astype(np.uint8)
    missed = of_truth == Outcome.MISSED
    drawn[missed] = _GREYS + Outcome.MISSED
    is_predicted = of_prediction >= 0
    drawn[is_predicted] = _GREYS + of_prediction[is_predicted]
    drawn[find_boundaries(prediction, connectivity=1, mode="inner")] = _INK
    outline = find_boundaries(truth, connectivity=1, mode="inner")
    drawn[outline & missed] = _GREYS + Outcome.MISSED
    drawn[outline & (of_truth == Outcome.MERGED)] = _BORDER
    return drawing.hatched(_PALETTE[drawn], None if unannotated is None else unannotated[part])


def mask(label_map: NDArray[np.integer]) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: nuclei white on black, with a gap where they touch."""
    white = label_map > 0
    for here, there in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        white[here] &= (label_map[here] == label_map[there]) | (label_map[there] == 0)
    return np.repeat((255 * white.astype(np.uint8))[..., None], 3, axis=2)


def sheet(tiles: Sequence[Tile], *, legend: bool) -> NDArray[np.uint8]:
    """All tiles of one image in rows of four with their captions, and the legend of `errors` below."""
    width = max(t.image.shape[1] for t in tiles)
    height = max(t.image.shape[0] for t in tiles) + 2 * _LINE + 4
    columns, rows = min(_COLUMNS, len(tiles)), math.ceil(len(tiles) / _COLUMNS)
    legend_lines = _legend_lines(columns * (width + _GAP) - _GAP) if legend else []
    size = (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP + 28 * len(legend_lines))
    canvas = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=_LETTERS)
    for i, tile in enumerate(tiles):
        left, top = _GAP + (i % _COLUMNS) * (width + _GAP), _GAP + (i // _COLUMNS) * (height + _GAP)
        canvas.paste(Image.fromarray(tile.image), (left, top))
        for line, text in enumerate((tile.name, tile.remark)):
            y = top + tile.image.shape[0] + 5 + _LINE * line
            draw.text((left, y), _fit(draw, font, text, width), fill=_TEXT, font=font)
    for line, words in enumerate(legend_lines):
        left, middle = _GAP, size[1] - 28 * (len(legend_lines) - line) + 8
        for outcome in words:
            draw.rectangle((left, middle - 8, left + 16, middle + 8), COLOURS[outcome], outline=_TEXT)
            draw.text((left + 24, middle), WORDS[outcome], fill=_TEXT, font=font, anchor="lm")
            left += 24 + round(draw.textlength(WORDS[outcome], font=font)) + 24
    return np.asarray(canvas)


def data_uri(picture: NDArray[np.uint8]) -> str:
    """A picture within the page: as PNG with a palette where it has few colours, else as JPEG."""
    data = io.BytesIO()
    if Image.fromarray(picture).getcolors(len(_PALETTE)) is None:
        # Full colour resolution: outlines are one or two pixels wide.
        Image.fromarray(picture).save(data, "JPEG", quality=88, subsampling=0)
        return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
    packed = picture.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    colours, index = np.unique(packed, return_inverse=True)
    image = Image.fromarray(index.reshape(packed.shape).astype(np.uint8))
    rgb = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
    image.putpalette(rgb.astype(np.uint8).tobytes())
    image.save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


def _paint(label_map: NDArray[np.integer], outcome: NDArray[np.int8], part: Window) -> NDArray[np.int8]:
    """int8 [h, w]: the outcome of each pixel's nucleus in a part of the map, −1 in the background."""
    ids = np.unique(label_map)
    of_id = np.concatenate([np.full(len(ids) - len(outcome), -1, np.int8), outcome])
    return of_id[np.searchsorted(ids, label_map[part])]


def _legend_lines(width: int) -> list[list[Outcome]]:
    """The outcomes, as many a line as `width` has room for."""
    font = ImageFont.load_default(size=_LETTERS)
    lines: list[list[Outcome]] = [[]]
    used = 0.0
    for outcome, word in WORDS.items():
        needed = 48 + font.getlength(word)
        if lines[-1] and used + needed - 24 > width:
            lines.append([])
            used = 0.0
        lines[-1].append(outcome)
        used += needed
    return lines


def _fit(
    draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, text: str, width: int
) -> str:
    # A name of several lines has no one length.
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    shown = text
    for kept in range(len(text) - 1, 0, -1):
        if draw.textlength(shown, font=font) <= width:
            break
        shown = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    return shown
