"""SGD, AdamW, the encoder's own rate, warm restarts and the warm-up, the moving average of weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from nucseg_jax.errors import UserError
from nucseg_jax.models.network import Weights
from nucseg_jax.training import optim
from nucseg_jax.training.step import move


def test_sgd_is_pytorchs() -> None:
    """g += decay · w; v = momentum · v + g; w -= rate · v, written out."""
    optimizer = optim.sgd(momentum=0.9, weight_decay=0.1)
    w = jnp.array([1.0])
    state = optimizer.init(w)
    expected_w, v = 1.0, 0.0
    for step, gradient in enumerate([1.0, -2.0, 0.5]):
        rate = 0.5 if step < 1 else 0.25
        updates, state = optimizer.update(jnp.array([gradient]), state, w, rate=rate)
        w = optax.apply_updates(w, updates)
        v = 0.9 * v + gradient + 0.1 * expected_w
        expected_w -= rate * v
        np.testing.assert_allclose(w, [expected_w], rtol=1e-6, atol=0)


def test_warm_restarts() -> None:
    schedule = optim.warm_restarts(0.1, 10)
    rates = [float(schedule(step)) for step in (0, 5, 9, 10, 15)]
    np.testing.assert_allclose(rates, [0.1, 0.05, 0.1 * (1 + np.cos(0.9 * np.pi)) / 2, 0.1, 0.05], rtol=1e-5)


def test_a_table_has_the_rate_of_each_step() -> None:
    """Of another length where it must be, else of the same; past the end the last rate stays."""
    schedule = optim.warm_restarts(0.1, 10)
    rates = optim.table(schedule, 15)
    assert rates.dtype == np.float32 and rates.shape == optim.table(schedule, 2**16).shape == (2**16,)
    assert optim.table(schedule, 2**16 + 1).shape == (2 * 2**16,)
    np.testing.assert_allclose(rates[:15], [float(schedule(step)) for step in range(15)], rtol=1e-5)
    assert (rates[15:] == rates[14]).all()


def test_the_states_are_those_of_optax() -> None:
    """Checkpoints of earlier releases have them."""
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    theirs = optax.adamw(lambda step: 0.1, weight_decay=0.1, mask={"kernel": True, "bias": False})
    ours = optim.adamw(weight_decay=0.1)
    assert jax.tree.structure(ours.init(params)) == jax.tree.structure(theirs.init(params))
    sgd = optax.chain(
        optax.add_decayed_weights(0.1), optax.trace(0.9), optax.scale_by_learning_rate(lambda step: 0.1)
    )
    mine = optim.sgd(momentum=0.9, weight_decay=0.1)
    assert jax.tree.structure(mine.init(params)) == jax.tree.structure(sgd.init(params))


def test_adamw_is_adam_with_a_decay_on_kernels_alone() -> None:
    """The first step is rate · sign(g) + rate · decay · w: both moments are corrected to g and g²."""
    optimizer = optim.adamw(weight_decay=0.1)
    params = {"kernel": jnp.array([[2.0, -4.0]]), "bias": jnp.array([2.0])}
    gradients = {"kernel": jnp.array([[3.0, -5.0]]), "bias": jnp.array([1.0])}
    updates, _ = optimizer.update(gradients, optimizer.init(params), params, rate=0.5)
    np.testing.assert_allclose(updates["kernel"], [[-0.5 - 0.1, 0.5 + 0.2]], rtol=2e-5)
    np.testing.assert_allclose(updates["bias"], [-0.5], rtol=2e-5)


class Encoded(nnx.Module):
    def __init__(self) -> None:
        self.encoder = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
        self.head = nnx.Linear(1, 1, rngs=nnx.Rngs(0))


def test_the_encoder_learns_at_a_rate_of_its_own() -> None:
    params = nnx.state(Encoded(), nnx.Param)
    optimizer = optim.with_encoder_rate(optim.sgd(momentum=0.0, weight_decay=0.0), 0.25)
    gradients = jax.tree.map(jnp.ones_like, params)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params, rate=1.0)
    for part, step in (("encoder", -0.25), ("head", -1.0)):
        for leaf in jax.tree.leaves(updates[part]):
            np.testing.assert_array_equal(leaf, np.full(leaf.shape, step, np.float32))
    with pytest.raises(UserError, match="optim.encoder_learning_rate is for networks with an encoder"):
        optimizer.init(nnx.state(nnx.Linear(1, 1, rngs=nnx.Rngs(0)), nnx.Param))


def test_the_first_cosine_begins_after_the_warm_up() -> None:
    """Linear over four steps, then a cosine over the six that are left; the next period has no warm-up."""
    schedule = optim.warm_restarts(1.0, 10, warmup=4)
    rates = [float(schedule(step)) for step in range(11)]
    np.testing.assert_allclose(rates[:5], [0.25, 0.5, 0.75, 1.0, 1.0], rtol=1e-6)
    cosine = (1 + np.cos(np.pi * np.arange(6) / 6)) / 2
    np.testing.assert_allclose(rates[4:10], cosine, rtol=1e-5, atol=1e-7)
    assert rates[10] == 1.0


def test_the_moving_average_forgets_its_start_and_then_follows_the_decay() -> None:
    """Of weights that are constant from step 0 on it is these weights, whatever it began with."""
    average, new = (Weights({"w": jnp.array([x])}, {"m": jnp.array([x])}) for x in (9.0, 1.0))
    first = move(average, new, jnp.int32(0), 0.9)
    np.testing.assert_allclose(first.params["w"], [0.1 * 9 + 0.9 * 1], rtol=1e-6)
    late = move(average, new, jnp.int32(10_000), 0.9)
    np.testing.assert_allclose(late.batch_stats["m"], [0.9 * 9 + 0.1 * 1], rtol=1e-6)
    for step in range(200):
        average = move(average, new, jnp.int32(step), 0.9)
    np.testing.assert_allclose(average.params["w"], [1.0], atol=1e-6)


def test_updates_are_what_optax_applies() -> None:
    """AdamW goes down a parabola."""
    optimizer = optim.adamw(weight_decay=0.0)
    w = jnp.array([[1.0]])
    state = optimizer.init(w)
    for _ in range(100):
        updates, state = optimizer.update(2 * w, state, w, rate=0.1)
        w = optax.apply_updates(w, updates)
    assert abs(float(w[0, 0])) < 0.05
