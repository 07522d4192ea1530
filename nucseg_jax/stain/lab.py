"""sRGB ↔ CIELAB (white D65), in colour planes [3, N]; finite gradients everywhere."""

import jax
import jax.numpy as jnp

_WHITE = (0.950456, 1.0, 1.088754)
_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_FROM_XYZ = (
    (3.240479, -1.53715, -0.498535),
    (-0.969256, 1.875991, 0.041556),
    (0.055648, -0.204043, 1.057311),
)
_FOOT = 0.008856  # where CIE's cube root becomes a line


def lightness(planes: jax.Array) -> jax.Array:
    """Grey levels [3, N] in 0 … 255 → L* [N] in 0 … 100."""
    return 116.0 * _root(_mixed(_TO_XYZ[1], _linear(planes))) - 16.0


def to_lab(planes: jax.Array) -> jax.Array:
    """Grey levels [3, N] in 0 … 255 → L* in 0 … 100, a* and b* in about −128 … 127: [3, N]."""
    linear = _linear(planes)
    x, y, z = (_root(_mixed(row, linear) / white) for row, white in zip(_TO_XYZ, _WHITE, strict=True))
    return jnp.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)])


def from_lab(lab: jax.Array) -> jax.Array:
    """L*, a*, b* [3, N] → grey levels [3, N], colours that no screen shows cut to 0 … 255."""
    y = (lab[0] + 16.0) / 116.0
    roots = (y + lab[1] / 500.0, y, y - lab[2] / 200.0)
    xyz = jnp.stack([_cube(root) * white for root, white in zip(roots, _WHITE, strict=True)])
    linear = jnp.stack([_mixed(row, xyz) for row in _FROM_XYZ])
    curved = 1.055 * jnp.exp(jnp.log(jnp.maximum(linear, 0.0031308)) / 2.4) - 0.055
    return 255.0 * jnp.clip(jnp.where(linear <= 0.0031308, 12.92 * linear, curved), 0.0, 1.0)


def _linear(planes: jax.Array) -> jax.Array:
    """Grey levels of sRGB → linear light in 0 … 1 (IEC 61966-2-1)."""
    x = planes / 255.0
    return jnp.where(x <= 0.04045, x / 12.92, jnp.exp(2.4 * jnp.log((x + 0.055) / 1.055)))


def _root(x: jax.Array) -> jax.Array:
    root = jnp.exp(jnp.log(jnp.maximum(x, _FOOT)) / 3.0)
    return jnp.where(x > _FOOT, root, 7.787 * x + 16.0 / 116.0)


def _cube(root: jax.Array) -> jax.Array:
    return jnp.where(root > 0.206893, root**3, (root - 16.0 / 116.0) / 7.787)


def _mixed(weights: tuple[float, float, float], planes: jax.Array) -> jax.Array:
    return weights[0] * planes[0] + weights[1] * planes[1] + weights[2] * planes[2]
