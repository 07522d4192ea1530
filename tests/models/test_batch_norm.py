"""Batch norm over devices: the moments of all rows, and their gradients, from one message a layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.collectives import messages
from nucseg_jax import devices
from nucseg_jax.models.batch_norm import BatchNorm, Moments


def images(mean: float) -> np.ndarray:
    """[16,4,6,3] of deviation 1, each image about another mean, as images of tissue have."""
    random = np.random.default_rng(0)
    each = random.standard_normal((16, 1, 1, 1))
    return (mean + 0.5 * each + random.standard_normal((16, 4, 6, 3))).astype(np.float32)


def moments_of(x: jax.Array, running: jax.Array) -> Moments:
    norm = BatchNorm(3, rngs=nnx.Rngs(0))
    norm.mean.set_value(running)
    return norm.moments(x)


@pytest.mark.parametrize(
    ("mean", "running", "tolerance"),
    [
        (0.3, 0.0, 1e-6),
        (30.0, 0.0, 3e-4),  # a first step: the running mean is not there yet
        (1000.0, 999.0, 1e-4),
    ],
)
def test_moments_of_rows_that_devices_share(mean: float, running: float, tolerance: float) -> None:
    x, mesh = images(mean), devices.make_mesh()
    arguments = devices.split_batch(mesh, x), devices.replicate(mesh, np.full(3, running, np.float32))
    compiled = devices.jit(mesh, moments_of).lower(*arguments).compile()
    assert len(messages(compiled.as_text())) == 1
    found = compiled(*arguments)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(found.mean, exact.mean((0, 1, 2)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.variance, exact.var((0, 1, 2)), rtol=tolerance, atol=0)


def test_their_gradients() -> None:
    """Of a function of both, written out: the mean moves by dx / n, the variance by 2 (x - mean) dx / n."""
    x, mesh = images(0.3), devices.make_mesh()
    weights = jnp.array([[1.0, -2.0, 0.5], [3.0, 1.0, -1.0]])

    def value(x: jax.Array) -> jax.Array:
        moments = moments_of(x, jnp.zeros(3))
        return (weights[0] * moments.mean + weights[1] * moments.variance).sum()

    found = devices.jit(mesh, jax.grad(value))(devices.split_batch(mesh, x))
    exact = x.astype(np.float64)
    both = np.asarray(weights, np.float64)
    expected = (both[0] + 2 * both[1] * (exact - exact.mean((0, 1, 2)))) / x[..., 0].size
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_a_batch_that_devices_cannot_share_in_equal_parts() -> None:
    """Twelve rows on eight devices, each of which has all."""
    x, mesh = images(0.3)[:12], devices.make_mesh()
    found = devices.jit(mesh, moments_of)(
        devices.replicate(mesh, x), devices.replicate(mesh, np.zeros(3, "f4"))
    )
    np.testing.assert_allclose(found.variance, x.astype(np.float64).var((0, 1, 2)), rtol=1e-5, atol=0)
