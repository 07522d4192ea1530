"""The pixels of one polygon, as MATLAB's ``poly2mask`` finds them: how all outlines are drawn.

``poly2mask`` decides on a grid five times finer than the pixels, with pixel centres at 1-based integers.
COCO's rasteriser follows the same rule from 0-based pixel corners, so ``pycocotools`` on (x - 0.5, y - 0.5)
gives the same pixels. Any other polygon filler costs AJI (about 0.885 against MoNuSeg's official masks).
"""

import warnings

import numpy as np

from nucseg_jax.errors import MissingExtraError

try:
    from pycocotools import mask as coco_mask
except ImportError as error:
    raise MissingExtraError("data", error) from error

SUBPIXELS = 5
# Polygons are cut to the image and this margin (pixels) before they are drawn: a vertex a billion pixels
# away must not cost memory. Outside the margin the cut cannot be seen in the image.
MARGIN = 4096
# A polygon farther than this from the top left corner is drawn nearer to it, on a smaller canvas. Not
# nearer than this: the rasteriser rounds `y0 + slope * t` in floating point, and only a number of about
# the same size is rounded in the same way as at the polygon's own place.
NEAR = 1024


def polygon_mask(polygon: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, int, int]:
    """The pixels of one polygon by MATLAB's ``poly2mask`` rule, in its bounding box.

    Args:
      polygon: float64 [vertices, 2], (x, y) in pixels as ImageScope stores them; finite, any range.
      shape: (height, width) of the image.

    Returns:
      (mask, top, left): bool [h, w], and where its first pixel lies in the image. h or w is 0 if no
      part of the bounding box lies in the image.
    """
    height, width = shape
    polygon = _clip(polygon, (-MARGIN, -MARGIN), (width + MARGIN, height + MARGIN))
    if len(polygon) < 3:
        return np.zeros((0, 0), bool), 0, 0
    # The nearest sub-pixel corner, found at the polygon's true place: moving the polygon by whole
    # pixels afterwards then cannot change its pixels.
    corners = np.floor(SUBPIXELS * (polygon - 0.5) + 0.5)
    low = np.floor(corners.min(axis=0) / SUBPIXELS).astype(int)
    high = np.ceil(corners.max(axis=0) / SUBPIXELS).astype(int) + 1
    (left, top), (right, bottom) = np.maximum(low, 0), np.minimum(high, (width, height))
    if right <= left or bottom <= top:
        return np.zeros((0, 0), bool), 0, 0
    # pycocotools truncates towards zero, which rounds negative numbers the wrong way: a polygon with
    # negative corners is moved to where it has none.
    origin = np.where(low < 0, low, np.maximum(low - NEAR, 0))
    local = (corners - SUBPIXELS * origin) / SUBPIXELS
    canvas_width, canvas_height = (int(size) for size in (right, bottom) - origin)
    runs = coco_mask.frPyObjects([local.ravel().tolist()], canvas_height, canvas_width)
    with warnings.catch_warnings():
        # pycocotools 2.0.11 is behind NumPy 2's copy keyword, a warning a nucleus.
        warnings.simplefilter("ignore", DeprecationWarning)
        canvas = coco_mask.decode(runs)[:, :, 0].astype(bool, copy=False)
    return canvas[top - origin[1] :, left - origin[0] :], int(top), int(left)


def _clip(polygon: np.ndarray, low: tuple[float, float], high: tuple[float, float]) -> np.ndarray:
    """Sutherland and Hodgman's clipping of a polygon [vertices, 2] to a box; most need none.

    A concave polygon may gain edges that run along the box's border twice. They enclose nothing, and
    the border lies outside the image.
    """
    for axis in (0, 1):
        for sign, limit in ((1, low[axis]), (-1, -high[axis])):
            inside = sign * polygon[:, axis] >= limit
            if inside.all():
                continue
            following = np.roll(polygon, -1, axis=0)
            kept: list[np.ndarray] = []
            for i, (start, end) in enumerate(zip(polygon, following, strict=True)):
                if inside[i]:
                    kept.append(start)
                if inside[i] != inside[(i + 1) % len(polygon)]:
                    # Halved first, since the difference of two huge numbers could overflow.
                    span = end[axis] / 2 - start[axis] / 2
                    part = (sign * limit / 2 - start[axis] / 2) / span
                    cut = start * (1 - part) + end * part
                    cut[axis] = sign * limit
                    kept.append(cut)
            polygon = np.array(kept).reshape(-1, 2)
            if not len(polygon):
                break
    return polygon
