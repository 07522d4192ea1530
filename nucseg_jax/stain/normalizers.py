"""Stain normalisers as objects: fitted to a target, they turn arrays of images into its colours."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from nucseg_jax.errors import DataError, UserError, in_short
from nucseg_jax.stain import normalization
from nucseg_jax.stain.normalization import (
    SAMPLE_PIXELS,
    LabStatistics,
    Normalized,
    NoStyle,
    Stains,
    Style,
    evenly_spaced,
)

Images = np.ndarray | jax.Array

PIECE_PIXELS = 2**20
"""Pixels that are worked on at once."""


class Estimate(NamedTuple):
    """The style of some pixels; `found` is False where they show none, and the style is the fallback."""

    style: Style
    found: bool


class StainNormalizer:
    """What all methods share; use one of its subclasses.

    ``normalizer = VahadaneNormalizer().fit(target); normalizer.transform(images)``

    Attributes:
      target: the style that images get, leaves float32; None before `fit`.
      fell_back: bool [...] of the images of the last `transform`, True where one showed no stains.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        self.target: Style | None = None
        self.fell_back: np.ndarray = np.zeros((), bool)

    def fit(self, target: Images | Sequence[Images]) -> Self:
        """Take the style of one image, or of many together, as the target.

        Args:
          target: uint8 [..., 3] RGB: an image, several, or pixels sampled from a slide; or a list of such
            arrays. 2¹⁶ pixels, evenly spaced, are looked at, of each array of a list as many.

        Raises:
          DataError: it shows no two stains (white, black, of one colour, fewer than 1000 tissue pixels, ink).
          ValueError: no uint8 [..., 3].
        """
        unused = {key: np.zeros(shape, np.float32) for key, shape in _SHAPES[self.method.style].items()}
        estimate = self._estimate(target, self.method.style(**unused))
        if not estimate.found:
            raise DataError(
                f"the target of {self.name} stain normalisation shows no hematoxylin and eosin (blank, of "
                "one colour, inked or too small). Choose an image of well-stained tissue"
            )
        self.target = jax.tree.map(np.asarray, estimate.style)
        return self

    def estimate(self, images: Images | Sequence[Images], *, fallback: Style | None = None) -> Estimate:
        """The one style of all these pixels together: of a slide or a cohort.

        Args:
          images: as `fit` takes them.
          fallback: what they are said to have if they show none; None: the target's.
        """
        return self._estimate(images, self._fitted() if fallback is None else fallback)

    def transform(
        self, images: Images, *, source: Style | None = None, fallback: Style | None = None
    ) -> np.ndarray:
        """Give images the target's colours; sets `fell_back`.

        Any number of images of any size: the work is done 2²⁰ pixels at a time.

        Args:
          images: uint8 [..., H, W, 3] RGB.
          source: the style that all of them have (`estimate`); None: each image's own.
          fallback: the style of an image that shows none; None: the target's, which leaves it about as it is.

        Returns:
          uint8 [..., H, W, 3]. On CPUs an image's result does not depend on the others; on accelerators
          images are worked on together, and sums round differently, by a grey level at most.

        Raises:
          UserError: not fitted.
          ValueError: no uint8 [..., H, W, 3].
        """
        target = self._fitted()
        pixels = _check(images, least_dimensions=3)
        shape, leading = pixels.shape, pixels.shape[:-3]
        if pixels.size == 0:
            self.fell_back = np.zeros(leading, bool)
            return np.zeros(shape, np.uint8)
        # Nothing is spatial: an image is a list of pixels.
        pixels = pixels.reshape(-1, pixels.shape[-3] * pixels.shape[-2], 3)
        count, size = pixels.shape[:2]
        self.fell_back = np.zeros(leading, bool)
        fallback = target if fallback is None else fallback
        group = 1 if jax.default_backend() == "cpu" else min(count, max(1, PIECE_PIXELS // size))
        result = np.empty_like(pixels)
        for start in range(0, count, group):
            part = _padded(pixels[start : start + group], group, axis=0)
            if source is None:
                sample = part[:, evenly_spaced(size, SAMPLE_PIXELS)]
                styles, found = _estimate_groups(self.method, *_bucket(sample), fallback)
                self.fell_back.reshape(-1)[start : start + group] = ~np.asarray(found)[: count - start]
            else:
                styles = _repeated(source, len(part))
            for first in range(0, size, PIECE_PIXELS):
                piece = part[:, first : first + PIECE_PIXELS]
                done = _restyle_groups(self.method, _bucket(piece)[0], styles, target)
                kept = result[start : start + group, first : first + PIECE_PIXELS]
                kept[:] = np.asarray(done)[: len(kept), : piece.shape[1]]
        return result.reshape(shape)

    def normalize(self, images: jax.Array) -> Normalized:
        """`transform` as a pure function of grey levels [..., H, W, 3]: to be jitted, differentiated, split.

        The gradient goes through the estimated stains, too.
        """
        return normalization.normalize(self.method, images, jax.tree.map(jnp.asarray, self._fitted()))

    @property
    def method(self) -> normalization.Method:
        """Its pure functions."""
        return normalization.METHODS[self.name]

    @property
    def stain_matrix(self) -> np.ndarray:
        """float32 [2, 3], the target's hematoxylin and eosin: unit rows of optical density.

        Raises:
          AttributeError: the method has none, or is not fitted.
        """
        if not isinstance(self.target, Stains):
            hint = ": not fitted" if self.target is None else ""
            raise AttributeError(f"{self.name} has no stain matrix{hint}")
        return np.asarray(self.target.matrix)

    def to_dict(self) -> dict[str, Any]:
        """The method and the fitted target as JSON takes them; see `from_dict`."""
        fitted = {key: np.asarray(x, np.float32).tolist() for key, x in self._fitted()._asdict().items()}
        return {"method": self.name, **fitted}

    def _fitted(self) -> Style:
        if self.target is None:
            raise UserError(f"{type(self).__name__} has no target yet: call fit(target) first")
        return self.target

    def _estimate(self, images: Images | Sequence[Images], fallback: Style) -> Estimate:
        parts = list(images) if isinstance(images, (list, tuple)) else [images]
        lists = [_check(part, least_dimensions=1).reshape(-1, 3) for part in parts]
        share = max(1, SAMPLE_PIXELS // max(1, len(lists)))
        sample = [pixels[evenly_spaced(len(pixels), share)] for pixels in lists]
        pixels, count = _bucket(np.concatenate([np.zeros((0, 3), np.uint8), *sample])[None])
        styles, found = _estimate_groups(self.method, pixels, count, fallback)
        return Estimate(jax.tree.map(lambda x: np.asarray(x)[0], styles), bool(found[0]))


class VahadaneNormalizer(StainNormalizer):
    """Sparse stain separation (Vahadane et al., IEEE TMI 35(8), 2016), the paper's; staintools' defaults."""

    name = "vahadane"


class MacenkoNormalizer(StainNormalizer):
    """Stain vectors from the extreme angles of the optical density (Macenko et al., ISBI 2009)."""

    name = "macenko"


class ReinhardNormalizer(StainNormalizer):
    """Means and deviations of L*, a*, b* (Reinhard et al., IEEE CG&A 21(5), 2001)."""

    name = "reinhard"


class IdentityNormalizer(StainNormalizer):
    """Leaves images as they are; `fit` may be left out."""

    name = "identity"

    def __init__(self) -> None:
        super().__init__()
        self.target = NoStyle()

    def fit(self, target: Images | Sequence[Images]) -> Self:
        return self


NORMALIZERS: dict[str, type[StainNormalizer]] = {
    cls.name: cls for cls in (VahadaneNormalizer, MacenkoNormalizer, ReinhardNormalizer, IdentityNormalizer)
}
"""By the names that configs and commands take."""


def from_dict(description: Mapping[str, Any]) -> StainNormalizer:
    """A fitted normaliser from what `to_dict` gave; other keys are not looked at.

    Raises:
      UserError: an unknown method, or a value is missing, of another shape or not finite.
    """
    name = description.get("method")
    if not isinstance(name, str) or name not in NORMALIZERS:
        raise UserError(f"unknown stain normalisation {in_short(name)!r}: known are {', '.join(NORMALIZERS)}")
    normalizer = NORMALIZERS[name]()
    values: dict[str, np.ndarray] = {}
    for key, shape in _SHAPES[normalizer.method.style].items():
        try:
            value = np.array(description[key], np.float64)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f"the fitted target of {name} lacks a valid {key!r} ({in_short(error)})"
            ) from error
        if value.shape != shape or not (np.abs(value) < 1e6).all():  # NaN is not below anything
            raise UserError(f"the fitted target of {name} has {key} = {value.tolist()}, not {shape} numbers")
        values[key] = value.astype(np.float32)
    for key in ("max_concentrations", "std"):
        if key in values and not (values[key] > 0).all():
            raise UserError(f"the fitted target of {name} has {key} = {values[key].tolist()}, not above 0")
    if "matrix" in values:
        lengths = np.linalg.norm(values["matrix"], axis=1)
        if (values["matrix"] < 0).any() or not np.allclose(lengths, 1, atol=1e-3):
            raise UserError(
                f"the fitted target of {name} has matrix = {values['matrix'].tolist()}, whose rows are not "
                "stain vectors (of length 1, no coordinate below 0)"
            )
    normalizer.target = normalizer.method.style(**values)
    return normalizer


_SHAPES: dict[type, dict[str, tuple[int, ...]]] = {
    Stains: {"matrix": (2, 3), "max_concentrations": (2,)},
    LabStatistics: {"mean": (3,), "std": (3,)},
    NoStyle: {},
}


@partial(jax.jit, static_argnums=0)
def _estimate_groups(
    method: normalization.Method, pixels: jax.Array, count: jax.Array, fallback: Style
) -> tuple[Style, jax.Array]:
    """uint8 [G, P, 3], of which the first `count` of each P count → styles [G, …], found [G]."""
    planes = pixels.swapaxes(1, 2).astype(jnp.float32)
    return jax.vmap(lambda p: normalization.estimate_or(method, p, count, fallback))(planes)


@partial(jax.jit, static_argnums=0)
def _restyle_groups(
    method: normalization.Method, pixels: jax.Array, styles: Style, target: Style
) -> jax.Array:
    """uint8 [G, P, 3] of styles [G, …] → uint8 [G, P, 3] of the target's, rounded."""
    planes = pixels.swapaxes(1, 2).astype(jnp.float32)
    result = jax.vmap(lambda p, style: method.restyle(p, style, target))(planes, styles)
    return jnp.clip(jnp.round(result), 0, 255).astype(jnp.uint8).swapaxes(1, 2)


def _bucket(pixels: np.ndarray) -> tuple[np.ndarray, np.int32]:
    """[G, N, 3] → padded with zeros to one of eight lengths an octave: few programs serve all sizes."""
    size = max(pixels.shape[1], _SMALLEST_BUCKET)
    unit = 1 << max(0, size.bit_length() - 4)
    return _padded(pixels, -(-size // unit) * unit, axis=1), np.int32(pixels.shape[1])


_SMALLEST_BUCKET = 1024


def _padded(array: np.ndarray, length: int, axis: int) -> np.ndarray:
    if array.shape[axis] == length:
        return array
    widths = [(0, length - array.shape[axis] if i == axis else 0) for i in range(array.ndim)]
    return np.pad(array, widths)


def _repeated(style: Style, times: int) -> Style:
    return jax.tree.map(lambda x: np.broadcast_to(x, (times, *np.shape(x))), style)


def _check(images: Any, least_dimensions: int) -> np.ndarray:
    array = np.asarray(images)
    if array.dtype != np.uint8 or array.ndim < least_dimensions or array.shape[-1] != 3:
        wanted = "[..., H, W, 3]" if least_dimensions == 3 else "[..., 3]"
        raise ValueError(f"images must be uint8 {wanted} RGB, got {array.dtype} {list(array.shape)}")
    return array
