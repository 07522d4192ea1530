"""From the colours of one image to those of another: pure functions of pixels, for every method.

A method has two halves. `estimate` looks at an image's pixels and says how it is coloured: its *style*.
`restyle` maps pixels of one style to another, each pixel for itself. So a style may be estimated once, for a
slide or a cohort, and used for all of its tiles.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nucseg_jax.stain.extraction import METHODS as EXTRACTIONS
from nucseg_jax.stain.extraction import Extract, extract
from nucseg_jax.stain.lab import from_lab, to_lab
from nucseg_jax.stain.optical_density import optical_density, transmitted
from nucseg_jax.stain.percentile import percentiles
from nucseg_jax.stain.separation import SEPARATION_SPARSITY, concentrations, mixture
from nucseg_jax.stain.stained_pixels import FEWEST_PIXELS, GLASS, classify

Style = Any
"""How an image is coloured: a NamedTuple of arrays, by the method."""

SAMPLE_PIXELS = 2**16
"""Pixels, evenly spaced, that a style is estimated from. All of a 1000×1000 image's would move stain vectors
by 0.1° and concentrations by 0.5 %."""

_PERCENT = 99  # of the concentrations: the strongest, but for outliers
_TISSUE_PERCENT = 98  # the same of the tissue, where it covers half of the image
_WEAKEST_STAIN = 0.05  # optical density; a stain fainter than that cannot be scaled up
# Of L*, a*, b*. MoNuSeg's images have 8, 4, 5; one colour with a camera's noise 0.8, 0.7, 0.7.
_SMALLEST_DEVIATION = (3.0, 1.5, 1.5)


class Stains(NamedTuple):
    """Style of Vahadane's and Macenko's methods.

    Attributes:
      matrix: [2, 3], optical density of hematoxylin and eosin in R, G, B; unit rows.
      max_concentrations: [2], of each the 99th percentile of its concentrations over all pixels; but at
        least the 98th over the tissue, so that a tile of glass does not make its bit of tissue dark.
    """

    matrix: jax.Array
    max_concentrations: jax.Array


class LabStatistics(NamedTuple):
    """Style of Reinhard's method: mean and standard deviation of L*, a*, b* over the tissue, [3] each.

    Not over all pixels, as in the article on photographs: glass would make tissue darker, and be coloured.
    """

    mean: jax.Array
    std: jax.Array


class NoStyle(NamedTuple):
    """Style of `identity`."""


class Normalized(NamedTuple):
    """Images in another style.

    Attributes:
      images: float [..., H, W, 3], grey levels in 0 … 255.
      source: the style each image was taken to have, leaves [..., …].
      found: bool [...]. False: the image shows no style (white, black, of one colour, tiny, ink), and
        `source` is the fallback.
    """

    images: jax.Array
    source: Style
    found: jax.Array


@dataclass(frozen=True)
class Method:
    """A way of stain normalisation.

    Attributes:
      style: the class of its styles.
      estimate: (grey levels [3, N], count) → (style, found bool []): of the first `count` pixels; N at most
        SAMPLE_PIXELS.
      restyle: (grey levels [3, N], source style, target style) → grey levels [3, N].
    """

    style: type
    estimate: Callable[[jax.Array, jax.Array], tuple[Style, jax.Array]]
    restyle: Callable[[jax.Array, Style, Style], jax.Array]


def normalize(
    method: Method,
    images: jax.Array,
    target: Style,
    source: Style | None = None,
    fallback: Style | None = None,
) -> Normalized:
    """Give images the style of a target; may be jitted, differentiated and split over devices.

    Args:
      method: one of METHODS.
      images: uint8 or float [..., H, W, 3] RGB, grey levels in 0 … 255.
      target: the style they get.
      source: the style they all have; None: each is estimated from its own pixels.
      fallback: the style of an image that shows none; None: the target's, which leaves such an image about
        as it is.
    """
    # Half precision cannot hold what is summed over an image.
    dtype = images.dtype if images.dtype in (jnp.float32, jnp.float64) else jnp.float32
    leading = images.shape[:-3]
    planes = images.astype(dtype).reshape(-1, images.shape[-3] * images.shape[-2], 3).swapaxes(1, 2)
    if source is None:
        sample = planes[:, :, evenly_spaced(planes.shape[2], SAMPLE_PIXELS)]
        count = jnp.int32(sample.shape[2])
        found_in = jax.vmap(lambda p: estimate_or(method, p, count, target if fallback is None else fallback))
        source, found = found_in(sample)
        result = jax.vmap(lambda p, s: method.restyle(p, s, target))(planes, source)
    else:
        found = jnp.ones(planes.shape[:1], bool)
        result = jax.vmap(lambda p: method.restyle(p, source, target))(planes)
        source = jax.tree.map(lambda x: jnp.broadcast_to(x, (*planes.shape[:1], *x.shape)), source)
    return Normalized(
        result.swapaxes(1, 2).reshape(images.shape),
        jax.tree.map(lambda x: x.reshape(*leading, *x.shape[1:]), source),
        found.reshape(leading),
    )


def evenly_spaced(size: int, most: int) -> np.ndarray:
    """The indices of at most `most` of `size` pixels: one in each of as many equal stretches.

    Where in its stretch wanders (by the golden ratio): a fixed step could meet the same column of every row.
    """
    if size <= most:
        return np.arange(size)
    stretch = np.arange(most)
    return ((stretch + (stretch * 0.6180339887498949) % 1.0) * (size / most)).astype(np.int32)


def estimate_or(
    method: Method, planes: jax.Array, count: jax.Array, fallback: Style
) -> tuple[Style, jax.Array]:
    """The style of the first `count` pixels, or the fallback; and whether it was found."""
    style, found = method.estimate(planes, count)
    chosen = jax.tree.map(lambda mine, other: jnp.where(found, mine, other), style, fallback)
    return chosen, found


def _estimate_stains(planes: jax.Array, count: jax.Array, extraction: Extract) -> tuple[Stains, jax.Array]:
    density = optical_density(planes)
    pixels = classify(planes, density, count)
    matrix, found = extract(density, pixels.stained, extraction)
    amounts = concentrations(density, matrix, SEPARATION_SPARSITY)
    # All pixels, as staintools does; but where most are glass, the tissue's strong ones. Ink is neither.
    strongest = jnp.maximum(
        percentiles(amounts, pixels.stained | pixels.glass, _PERCENT),
        percentiles(amounts, pixels.stained, _TISSUE_PERCENT),
    )
    return Stains(matrix, strongest), found & (strongest > _WEAKEST_STAIN).all()


def _restain(planes: jax.Array, source: Stains, target: Stains) -> jax.Array:
    amounts = concentrations(optical_density(planes), source.matrix, SEPARATION_SPARSITY)
    scale = target.max_concentrations / jnp.maximum(source.max_concentrations, 1e-6)
    return transmitted(mixture(amounts * scale[:, None], target.matrix))


def _estimate_lab(planes: jax.Array, count: jax.Array) -> tuple[LabStatistics, jax.Array]:
    tissue = classify(planes, optical_density(planes), count).stained
    lab, weight, total = to_lab(planes), tissue.astype(planes.dtype), jnp.maximum(tissue.sum(), 1)
    mean = (lab * weight[None]).sum(axis=1) / total
    variance = ((lab - mean[:, None]) ** 2 * weight[None]).sum(axis=1) / total
    # The root of no variance has no gradient; below the smallest deviation it is not used.
    std = jnp.sqrt(jnp.maximum(variance, 1e-4))
    found = (tissue.sum() >= FEWEST_PIXELS) & (std >= jnp.array(_SMALLEST_DEVIATION, std.dtype)).all()
    return LabStatistics(mean, std), found


def _match_lab(planes: jax.Array, source: LabStatistics, target: LabStatistics) -> jax.Array:
    scale = target.std / source.std
    lab = to_lab(planes)
    matched = (lab - source.mean[:, None]) * scale[:, None] + target.mean[:, None]
    # Glass stays as it is: from tissue's lightness up to white the change fades.
    share = jnp.minimum((100.0 - lab[:1]) / (100.0 - GLASS), 1.0)
    return from_lab(lab + share * (matched - lab))


METHODS: dict[str, Method] = {
    **{
        name: Method(Stains, partial(_estimate_stains, extraction=extraction), _restain)
        for name, extraction in EXTRACTIONS.items()
    },
    "reinhard": Method(LabStatistics, _estimate_lab, _match_lab),
    "identity": Method(
        NoStyle, lambda planes, count: (NoStyle(), jnp.ones((), bool)), lambda planes, *_: planes
    ),
}
"""Vahadane et al. 2016, Macenko et al. 2009, Reinhard et al. 2001 (IEEE CG&A 21(5)), and none at all."""
