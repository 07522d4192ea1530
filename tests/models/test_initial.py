"""Initial weights: of the right distribution, each array's own, and the same wherever they are drawn."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from nucseg_jax.models import create_model, design_model, initial
from nucseg_jax.models.initial import Source

SHAPES = {"convolution": (3, 3, 40, 90), "depthwise": (5, 5, 1, 600), "1x1": (1, 1, 64, 200)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("fan", ["fan_in", "fan_out"])
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_the_distribution_is_that_of_jax(shape: tuple[int, ...], fan: str, distribution: str) -> None:
    """Mean, variance and range, of enough values that chance is 2 % of the deviation."""
    ours = np.asarray(initial.variance_scaling(2.0, fan, distribution)(Source(np.array([0, 0]), 0), shape))
    of_jax = jax.nn.initializers.variance_scaling(2.0, fan, distribution)
    theirs = np.asarray(of_jax(jax.random.key(0), shape))
    assert ours.shape == shape and ours.dtype == np.float32
    deviation = theirs.std()
    assert abs(ours.mean()) < 0.05 * deviation
    assert ours.std() == pytest.approx(deviation, rel=0.03)
    if distribution == "uniform":
        assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=0.01)
    else:
        assert (np.abs(ours) > 2 * deviation).mean() == pytest.approx(0.0455, abs=0.01)


def test_uniform_values_reach_their_bound_and_no_further() -> None:
    values = np.asarray(initial.uniform(0.25)(Source(np.array([1, 2]), 3), (10_000,)))
    assert -0.25 <= values.min() < -0.249 and 0.249 < values.max() <= 0.25


def parameters(seed: int) -> dict[str, np.ndarray]:
    model = create_model("unet", width=1 / 16, rngs=nnx.Rngs(seed))
    flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return {"/".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in flat}


def test_no_two_arrays_of_a_network_are_drawn_alike() -> None:
    drawn = [values.ravel() for values in parameters(0).values() if np.ptp(values) > 0]
    assert len(drawn) > 40
    for one, other in itertools.combinations(drawn, 2):
        length = min(len(one), len(other))
        scale = one[:length] / other[:length]
        assert length < 3 or not np.allclose(scale, scale[0]), "the same draws, at most scaled"


def test_weights_are_a_function_of_the_seed() -> None:
    first, again, other = parameters(0), parameters(0), parameters(1)
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name])
        assert np.ptp(values) == 0 or not np.array_equal(values, other[name])


@pytest.mark.parametrize(
    "name", ["unet", "fc_densenet", "psp_segnet", "efficient_unet_half", "self_correction"]
)
def test_weights_drawn_later_are_the_same(name: str) -> None:
    model, draws = design_model(name, width=1 / 16, rngs=nnx.Rngs(3))
    shapes = nnx.state(model, nnx.Param)
    assert any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(shapes))
    at_once = nnx.state(create_model(name, width=1 / 16, rngs=nnx.Rngs(3)), nnx.Param)
    later = draws.drawn(shapes)
    assert jax.tree.structure(later) == jax.tree.structure(at_once)
    for one, other in zip(jax.tree.leaves(later), jax.tree.leaves(at_once), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_weights_drawn_while_jax_traces_are_the_same() -> None:
    @nnx.jit
    def build() -> nnx.Module:
        return create_model("unet", width=1 / 16, rngs=nnx.Rngs(0))

    state = nnx.state(build(), nnx.Param)
    found = {"/".join(map(str, p)): np.asarray(leaf[...]) for p, leaf in nnx.to_flat_state(state)}
    for name, values in parameters(0).items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_many_networks_can_be_drawn_at_once() -> None:
    def kernel(key: jax.Array) -> jax.Array:
        return initial.variance_scaling(1.0, "fan_in", "normal")(key, (3, 3, 2, 4), jnp.float32)

    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.vmap(kernel)(keys)
    for key, values in zip(keys, together, strict=True):
        np.testing.assert_array_equal(kernel(key), values)
    assert math.isclose(float(jnp.std(together)), 1 / math.sqrt(18), rel_tol=0.3)
