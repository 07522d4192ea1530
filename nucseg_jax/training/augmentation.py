"""Training patches changed at random, so that a network sees other scanners, other stains, other sizes.

What it does to a patch is a function of (seed, step), as all that is random in training. Turns and flips are
the plan's (`data.patches`); stains are changed by `stain.augmentation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from nucseg_jax.models.network import Augmentation

if TYPE_CHECKING:  # benchmarks need no configs
    from ml_collections import ConfigDict

Rescale = Callable[[dict[str, jax.Array], jax.Array], dict[str, jax.Array]]
"""(batch of windows, key) → batch of patches: see `rescale`."""

IMAGE = "image"
"""The one entry of a batch whose values may be mixed; those of labels may not."""


def window_size(config: ConfigDict) -> int:
    """Side of the windows that patches are made of, in pixels: what the plan cuts.

    Args:
      config: the experiment.
    """
    return math.ceil(config.data.crop_size / config.augment.smallest_scale)


def hidden_margin(config: ConfigDict) -> int:
    """The most pixels along each side of a window that a patch made of it may not show.

    Args:
      config: the experiment.
    """
    return math.floor((window_size(config) - config.data.crop_size / config.augment.largest_scale) / 2)


def rescale_of(config: ConfigDict) -> Rescale | None:
    """`rescale` by the config, or None where it changes nothing."""
    smallest, largest = config.augment.smallest_scale, config.augment.largest_scale
    if smallest == largest == 1.0:
        return None

    def rescaled(batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
        return rescale(batch, key, size=config.data.crop_size, smallest=smallest, largest=largest)

    return rescaled


def rescale(
    batch: dict[str, jax.Array], key: jax.Array, *, size: int, smallest: float, largest: float
) -> dict[str, jax.Array]:
    """Show each patch at a size of its own: the middle of its window, enlarged or reduced.

    Args:
      batch: [B,W,W] or [B,W,W,C] by name; `image` is uint8.
      key: of JAX's random numbers.
      size: of the patches in pixels, at most W · smallest.
      smallest, largest: the factor is drawn between them, its logarithm uniformly.

    Returns:
      The same names with [B,size,size] or [B,size,size,C], in the same dtypes. Images are interpolated
      linearly, and smoothed first where they shrink; all else takes the nearest pixel.
    """
    window = batch[IMAGE].shape[1]
    count = batch[IMAGE].shape[0]
    logarithm = jax.random.uniform(key, (count,), minval=math.log(smallest), maxval=math.log(largest))
    factors = jnp.exp(logarithm)

    def image(pixels: jax.Array, factor: jax.Array) -> jax.Array:
        shift = (size - factor * window) / 2
        resized = jax.image.scale_and_translate(
            pixels.astype(jnp.float32),
            (size, size, pixels.shape[-1]),
            (0, 1),
            jnp.stack([factor, factor]),
            jnp.stack([shift, shift]),
            "linear",
        )
        return jnp.clip(jnp.round(resized), 0, 255).astype(pixels.dtype)

    def nearest(pixels: jax.Array, factor: jax.Array) -> jax.Array:
        places = (jnp.arange(size) + 0.5 - size / 2) / factor + window / 2
        places = jnp.clip(jnp.floor(places).astype(jnp.int32), 0, window - 1)
        return jnp.take(jnp.take(pixels, places, axis=0), places, axis=1)

    return {
        name: jax.vmap(image if name == IMAGE else nearest)(pixels, factors) for name, pixels in batch.items()
    }


def image_changes(config: ConfigDict, stain: Augmentation | None) -> Augmentation | None:
    """What the config does to the colours of training patches, one change after the other; None for nothing.

    Args:
      config: the experiment.
      stain: change of stains (`runs.stain_target.augmentation`).
    """
    changes: list[Augmentation] = [] if stain is None else [stain]
    if config.augment.gamma != 1.0:
        changes.append(lambda images, key: change_gamma(images, key, largest=config.augment.gamma))
    if config.augment.blur_px:
        changes.append(lambda images, key: blur(images, key, largest=config.augment.blur_px))
    if config.augment.noise:
        changes.append(lambda images, key: add_noise(images, key, largest=config.augment.noise))
    return _one_after_the_other(changes) if changes else None


def _one_after_the_other(changes: Sequence[Augmentation]) -> Augmentation:
    if len(changes) == 1:  # with the key itself, so that runs that change stains alone draw what they drew
        return changes[0]

    def all_changes(images: jax.Array, key: jax.Array) -> jax.Array:
        for i, change in enumerate(changes):
            images = change(images, jax.random.fold_in(key, i))
        return images

    return all_changes


def change_gamma(images: jax.Array, key: jax.Array, *, largest: float) -> jax.Array:
    """Make each image paler or darker: v = 255 (v / 255)^γ, which multiplies optical densities by γ.

    Args:
      images: float [B,H,W,3], grey levels in 0 … 255.
      key: of JAX's random numbers.
      largest: γ is drawn between 1 / largest and largest, its logarithm uniformly.
    """
    limit = math.log(largest)
    drawn = jax.random.uniform(key, (images.shape[0], 1, 1, 1), images.dtype, minval=-limit, maxval=limit)
    return 255.0 * (jnp.maximum(images, 0.0) / 255.0) ** jnp.exp(drawn)


def blur(images: jax.Array, key: jax.Array, *, largest: float) -> jax.Array:
    """Smooth half of the images by a Gaussian, as a scanner out of focus does.

    Args:
      images: float [B,H,W,3].
      key: of JAX's random numbers.
      largest: standard deviation in pixels; each image's is uniform below it.
    """
    sigma = jnp.maximum(_strengths(images, key, largest), 1e-3)[:, None]
    radius = max(1, math.ceil(2.5 * largest))
    offsets = jnp.arange(-radius, radius + 1)[None]
    weights = jnp.exp(-0.5 * (offsets / sigma) ** 2)
    weights = (weights / weights.sum(1, keepdims=True)).astype(images.dtype)
    for axis in (1, 2):
        pads = [(0, 0)] * images.ndim
        pads[axis] = (radius, radius)
        padded = jnp.pad(images, pads, mode="edge")
        size, images = images.shape[axis], jnp.zeros_like(images)
        for i in range(2 * radius + 1):
            moved = jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
            images += moved * weights[:, i].reshape(-1, 1, 1, 1)
    return images


def add_noise(images: jax.Array, key: jax.Array, *, largest: float) -> jax.Array:
    """Add noise of a normal distribution to half of the images, each pixel and channel by itself.

    Args:
      images: float [B,H,W,3], grey levels in 0 … 255.
      key: of JAX's random numbers.
      largest: standard deviation in grey levels; each image's is uniform below it.
    """
    sigma = _strengths(images, key, largest).reshape(-1, 1, 1, 1)
    noise = jax.random.normal(jax.random.fold_in(key, 1), images.shape, images.dtype)
    return jnp.clip(images + sigma * noise, 0.0, 255.0)


def _strengths(images: jax.Array, key: jax.Array, largest: float) -> jax.Array:
    """[B]: 0 for half of the images, uniform in 0 … largest for the others."""
    draws = jax.random.uniform(key, (images.shape[0],), images.dtype, minval=-1.0, maxval=1.0)
    return largest * jnp.maximum(draws, 0.0)
