"""Pictures of a segmentation on the tissue.

Yellow is the truth and cyan the prediction. The two differ along blue–yellow, not along red–green,
so the common colour blindnesses tell them apart; both are far lighter than stained nuclei.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import find_boundaries

from nucseg_jax.io.images import check_image
from nucseg_jax.metrics import check_label_map

Colour = tuple[int, int, int]

TRUTH: Colour = (255, 230, 0)  # yellow
PREDICTION: Colour = (0, 229, 255)  # cyan
MISSED: Colour = TRUTH  # in the truth only
FALSE: Colour = PREDICTION  # in the prediction only
RIGHT: Colour = (150, 150, 150)  # subdued, so that the errors stand out
_INK: Colour = (0, 0, 0)
_PAPER: Colour = (255, 255, 255)

_GAP_PX = 8
_LEGEND_PX = 36


def overlay(
    image: NDArray[np.uint8], truth: NDArray[np.integer], prediction: NDArray[np.integer]
) -> NDArray[np.uint8]:
    """The image with the outlines of the true nuclei in yellow and of the predicted ones in cyan.

    True outlines run just outside the nuclei and predicted ones just inside, so that a perfect
    prediction shows both, side by side.

    Args:
        image: uint8 `[H, W, 3]` RGB. It is not changed.
        truth: integer label map `[H, W]`, 0 = background.
        prediction: the same.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        ValueError: the image is not uint8 `[H, W, 3]`, or a map is no label map of its size.
    """
    _check(image, truth, prediction)
    drawn = image.copy()
    drawn[_outline(truth, "outer")] = TRUTH
    drawn[_outline(prediction, "inner")] = PREDICTION
    return drawn


def panel(
    image: NDArray[np.uint8],
    truth: NDArray[np.integer],
    prediction: NDArray[np.integer],
    *,
    caption: str = "",
) -> NDArray[np.uint8]:
    """Image, truth and prediction side by side, a legend and the caption below.

    The truth is drawn as outlines on the tissue. The prediction is drawn on the darkened tissue:
    right pixels grey, missed ones (in the truth only) yellow, false ones (in the prediction only)
    cyan, the outlines of the predicted nuclei black.

    Args:
        image: uint8 `[H, W, 3]` RGB. It is not changed.
        truth: integer label map `[H, W]`, 0 = background.
        prediction: the same.
        caption: one line of text, e.g. the scores, right of the legend; cut off at the right edge.

    Returns:
        uint8 `[H + 36, 3 W + 16, 3]`: 8 px between the pictures, 36 px for the legend.

    Raises:
        ValueError: the image is not uint8 `[H, W, 3]`, or a map is no label map of its size.
    """
    _check(image, truth, prediction)
    outlined = image.copy()
    outlined[_outline(truth, "outer")] = TRUTH
    gap = np.full((image.shape[0], _GAP_PX, 3), _PAPER, dtype=np.uint8)
    pictures = np.hstack([image, gap, outlined, gap, _errors(image, truth, prediction)])
    return np.vstack([pictures, _legend(pictures.shape[1], caption)])


def _check(image: NDArray, truth: NDArray, prediction: NDArray) -> None:
    check_image(image)
    for name, label_map in (("truth", truth), ("prediction", prediction)):
        check_label_map(name, label_map)
        if label_map.shape != image.shape[:2]:
            raise ValueError(f"{name} is {label_map.shape}, the image {image.shape[:2]}")


def _outline(label_map: NDArray[np.integer], mode: str) -> NDArray[np.bool_]:
    return find_boundaries(label_map, connectivity=1, mode=mode)


def _errors(
    image: NDArray[np.uint8], truth: NDArray[np.integer], prediction: NDArray[np.integer]
) -> NDArray[np.uint8]:
    """The darkened grey tissue with right, missed and false pixels in their colours."""
    grey = image.mean(axis=2, keepdims=True) * 0.25
    drawn = np.repeat(grey, 3, axis=2).astype(np.uint8)
    is_true, is_predicted = truth > 0, prediction > 0
    drawn[is_true & is_predicted] = RIGHT
    drawn[is_true & ~is_predicted] = MISSED
    drawn[~is_true & is_predicted] = FALSE
    drawn[_outline(prediction, "inner")] = _INK
    return drawn


def _legend(width: int, caption: str) -> NDArray[np.uint8]:
    """A strip `[36, width, 3]`: a swatch and a word for each colour, then the caption."""
    strip = Image.new("RGB", (width, _LEGEND_PX), _PAPER)
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size=18)
    x, middle, swatch = _GAP_PX, _LEGEND_PX // 2, 16
    entries = {"truth outline, missed": MISSED, "false": FALSE, "right": RIGHT}
    for word, colour in entries.items():
        box = (x, middle - swatch // 2, x + swatch, middle + swatch // 2)
        draw.rectangle(box, fill=colour, outline=_INK)
        x += swatch + _GAP_PX
        draw.text((x, middle), word, fill=_INK, font=font, anchor="lm")
        x += round(draw.textlength(word, font=font)) + 3 * _GAP_PX
    draw.text((x, middle), caption, fill=_INK, font=font, anchor="lm")
    return np.asarray(strip)
