"""Weights as named arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from nucseg_jax.errors import UserError
from nucseg_jax.models.network import Weights, split_network
from nucseg_jax.runs.tensors import from_tensors, to_tensors
from tests.networks import filled_network


@pytest.fixture(scope="module")
def weights() -> Weights:
    random = np.random.default_rng(0)
    model = filled_network("unet", lambda s: random.standard_normal(s, np.float32), width=1 / 32)
    _, params, batch_stats = split_network(model)
    return Weights(params, batch_stats)


def test_there_and_back_rounds_kernels_to_half_precision_and_nothing_else(weights: Weights) -> None:
    tensors = to_tensors(weights)
    assert tensors["params.encoder.0.conv1.kernel"].dtype == np.float16
    assert tensors["batch_stats.encoder.0.bn1.var"].dtype == np.float32
    found = from_tensors(tensors, weights, "here")
    assert jax.tree.structure(found) == jax.tree.structure(weights)
    for before, after in zip(jax.tree.leaves(weights), jax.tree.leaves(found), strict=True):
        expected = before.astype(np.float16) if before.ndim > 1 else before
        np.testing.assert_array_equal(after, expected.astype(np.float32))
        assert after.dtype == jnp.float32


def test_other_arrays_are_refused(weights: Weights) -> None:
    tensors = to_tensors(weights)
    name = "params.classifier.kernel"
    with pytest.raises(UserError, match=f"here: has nothing for {name}"):
        from_tensors({k: v for k, v in tensors.items() if k != name}, weights, "here")
    with pytest.raises(UserError, match=f"here: has \\(3,\\) for {name}, whose shape is"):
        from_tensors(tensors | {name: np.zeros(3)}, weights, "here")
    with pytest.raises(UserError, match="here: has params.more, which the network has not"):
        from_tensors(tensors | {"params.more": np.zeros(3)}, weights, "here")


def test_values_that_are_not_finite_are_refused(weights: Weights) -> None:
    tensors = to_tensors(weights)
    name = "batch_stats.encoder.0.bn1.var"
    broken = tensors[name].copy()
    broken[0] = np.nan
    with pytest.raises(UserError, match=f"here: {name} has values that are not finite. Save the model again"):
        from_tensors(tensors | {name: broken}, weights, "here")


def test_what_half_precision_cannot_hold_is_refused(weights: Weights) -> None:
    large = jax.tree.map(lambda x: 1e6 * jnp.ones_like(x), nnx.state(nnx.Linear(2, 2, rngs=nnx.Rngs(0))))
    with pytest.raises(UserError, match="params.kernel: has values of up to 1e"):
        to_tensors(Weights(large, weights.batch_stats))
    for value in (np.nan, np.inf):
        broken = jax.tree.map(lambda x, value=value: jnp.full_like(x, value), large)
        with pytest.raises(UserError, match="params.bias: has values that are not finite"):
            to_tensors(Weights(broken, weights.batch_stats))
