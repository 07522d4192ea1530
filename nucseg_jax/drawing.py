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

HATCH: Colour = (60, 60, 60)  # stripes on black: nobody annotated it, so nothing is right or wrong

_GAP_PX = 8
_LEGEND_PX = 36


def overlay(
    image: NDArray[np.uint8],
    truth: NDArray[np.integer],
    prediction: NDArray[np.integer],
    *,
    unannotated: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """The image with the outlines of the true nuclei in yellow and of the predicted ones in cyan.

    True outlines run just outside the nuclei and predicted ones just inside, so that a perfect
    prediction shows both, side by side.

    Args:
        image: uint8 `[H, W, 3]` RGB. It is not changed.
        truth: integer label map `[H, W]`, 0 = background.
        prediction: the same.
        unannotated: bool `[H, W]`, true on what nobody annotated; it is dimmed, outlines too.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        ValueError: the image is not uint8 `[H, W, 3]`, or a map is no label map of its size.
    """
    _check(image, truth, prediction, unannotated)
    drawn = image.copy()
    drawn[_outline(truth, "outer")] = TRUTH
    drawn[_outline(prediction, "inner")] = PREDICTION
    return dimmed(drawn, unannotated)


def panel(
    image: NDArray[np.uint8],
    truth: NDArray[np.integer],
    prediction: NDArray[np.integer],
    *,
    caption: str = "",
    unannotated: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Image, truth and prediction side by side, a legend and the caption below.

    The truth is drawn as outlines on the tissue. The prediction is drawn on the darkened tissue:
    right pixels grey, missed ones (in the truth only) yellow, false ones (in the prediction only)
    cyan, the outlines of the predicted nuclei black. What nobody annotated is dimmed beside the truth, and
    hatched in the prediction.

    Args:
        image: uint8 `[H, W, 3]` RGB. It is not changed.
        truth: integer label map `[H, W]`, 0 = background.
        prediction: the same.
        caption: one line of text, e.g. the scores, right of the legend; cut off at the right edge.
        unannotated: bool `[H, W]`, true on what nobody annotated; None: all is annotated.

    Returns:
        uint8 `[H + 36, 3 W + 16, 3]`: 8 px between the pictures, 36 px for the legend.

    Raises:
        ValueError: the image is not uint8 `[H, W, 3]`, or a map is no label map of its size.
    """
    _check(image, truth, prediction, unannotated)
    outlined = image.copy()
    outlined[_outline(truth, "outer")] = TRUTH
    outlined = dimmed(outlined, unannotated)
    errors = hatched(_errors(image, truth, prediction), unannotated)
    has_hatches = unannotated is not None and bool(unannotated.any())
    gap = np.full((image.shape[0], _GAP_PX, 3), _PAPER, dtype=np.uint8)
    pictures = np.hstack([image, gap, outlined, gap, errors])
    return np.vstack([pictures, _legend(pictures.shape[1], caption, has_hatches=has_hatches)])


def dimmed(picture: NDArray[np.uint8], unannotated: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    """A picture of tissue, grey and half as bright where nobody annotated it.

    Args:
        picture: uint8 `[H, W, 3]`. It is not changed.
        unannotated: bool `[H, W]`, or None.
    """
    if unannotated is None:
        return picture
    grey = (picture.mean(axis=2, keepdims=True) * 0.5).astype(np.uint8)
    return np.where(unannotated[..., None], grey, picture)


def hatched(picture: NDArray[np.uint8], unannotated: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    """A picture of right and wrong, with stripes in its stead where nobody annotated the tissue.

    Args:
        picture: uint8 `[H, W, 3]`. It is not changed.
        unannotated: bool `[H, W]`, or None.
    """
    if unannotated is None:
        return picture
    height, width = unannotated.shape
    is_stripe = (np.arange(height)[:, None] + np.arange(width)) % 8 < 2
    drawn = picture.copy()
    drawn[unannotated] = _INK
    drawn[unannotated & is_stripe] = HATCH
    return drawn


def _check(
    image: NDArray, truth: NDArray, prediction: NDArray, unannotated: NDArray[np.bool_] | None
) -> None:
    check_image(image)
    for name, label_map in (("truth", truth), ("prediction", prediction)):
        check_label_map(name, label_map)
        if label_map.shape != image.shape[:2]:
            raise ValueError(f"{name} is {label_map.shape}, the image {image.shape[:2]}")
    if unannotated is not None and (unannotated.dtype != bool or unannotated.shape != image.shape[:2]):
        raise ValueError(
            f"unannotated is {unannotated.dtype} {unannotated.shape}, not bool {image.shape[:2]} as the image"
        )


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


def _legend(width: int, caption: str, *, has_hatches: bool) -> NDArray[np.uint8]:
    """A strip `[36, width, 3]`: a swatch and a word for each colour, then the caption."""
    strip = Image.new("RGB", (width, _LEGEND_PX), _PAPER)
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size=18)
    x, middle, swatch = _GAP_PX, _LEGEND_PX // 2, 16
    entries = {"truth outline, missed": MISSED, "false": FALSE, "right": RIGHT}
    if has_hatches:
        entries["not annotated"] = HATCH
    for word, colour in entries.items():
        box = (x, middle - swatch // 2, x + swatch, middle + swatch // 2)
        draw.rectangle(box, fill=colour, outline=_INK)
        x += swatch + _GAP_PX
        draw.text((x, middle), word, fill=_INK, font=font, anchor="lm")
        x += round(draw.textlength(word, font=font)) + 3 * _GAP_PX
    draw.text((x, middle), caption, fill=_INK, font=font, anchor="lm")
    return np.asarray(strip)
