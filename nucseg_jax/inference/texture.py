"""Texture of chromatin: how the density of hematoxylin varies within a nucleus.

Haralick, Shanmugam, Dinstein, Textural features for image classification, IEEE Trans. SMC 3, 1973, for the
contrast; Shannon's entropy of the histogram. Both are of the density as a store holds it, and so at the
network's resolution: compare nuclei of one model alone, as finer pixels show finer chromatin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.inference.tile_store import LARGEST_DENSITY

LEVEL = 4
"""Stored values that count as one in the histogram: 64 levels of 0.157 in optical density."""


def contrasts(label_map: NDArray[np.int32], dye: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The mean square of the difference in density between neighbouring pixels of a nucleus.

    This is the contrast of the grey level co-occurrence matrix at a distance of 1 px, of density itself
    instead of its levels: the mean over four directions (0°, 45°, 90°, 135°) of the mean over the pairs of
    pixels of which both are of the nucleus. A direction without such a pair is left out.

    Args:
      label_map: int32 [h, w], nuclei 1, 2, …, count.
      dye: uint8 [h, w], density of hematoxylin; 255 is LARGEST_DENSITY.

    Returns:
      float64 [count + 1], squares of optical density; NaN for a nucleus of one pixel, and for 0.
    """
    # Empty pixels around, so that a step across the end of a row finds no nucleus.
    padded = np.pad(label_map, 1)
    values = np.pad(dye, 1).ravel().astype(np.int64)
    width = padded.shape[1]
    flat = padded.ravel()
    places = np.flatnonzero(flat)
    count = int(flat.max(initial=0)) + 1
    total, directions = np.zeros(count), np.zeros(count, np.int64)
    for step in (1, width + 1, width, width - 1):
        first = places[flat[places] == flat[places + step]]
        labels = flat[first]
        pairs = np.bincount(labels, minlength=count)
        squares = np.bincount(labels, (values[first] - values[first + step]) ** 2, count)
        total += squares / np.maximum(pairs, 1)
        directions += pairs > 0
    known = np.where(directions > 0, directions, np.nan)
    return total / known * (LARGEST_DENSITY / 255) ** 2


def entropies(label_map: NDArray[np.int32], dye: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Shannon's entropy of the histogram of a nucleus's density, on fixed levels of LEVEL stored values.

    0 where all pixels are of one level, 6 where all 64 levels are equally frequent. A nucleus of N pixels has
    log2 N at most.

    Args:
      label_map, dye: as of `contrasts`.

    Returns:
      float64 [count + 1], bits; 0 for 0.
    """
    places = np.flatnonzero(label_map)
    labels = label_map.ravel()[places].astype(np.int64)
    count, levels = int(label_map.max(initial=0)) + 1, 256 // LEVEL
    bins = labels * levels + dye.ravel()[places] // LEVEL
    there, frequency = np.unique(bins, return_counts=True)
    nucleus = there // levels
    share = frequency / np.bincount(labels, minlength=count)[nucleus]
    return np.abs(np.bincount(nucleus, -share * np.log2(share), count))
