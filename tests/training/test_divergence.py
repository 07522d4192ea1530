"""Losses, weights and batch statistics that are not finite end a training, with the step and its images."""

import jax.numpy as jnp
import pytest

from nucseg_jax.training.divergence import NonFiniteLossError, check_finite, finite_losses

IMAGES = {0: ["A", "B"], 1: ["C"], 2: ["B"], 3: ["D"]}


def images_of(step: int) -> list[str]:
    return IMAGES[step]


def test_losses_are_numbered_from_one() -> None:
    pending = [(range(0, 1), jnp.float32(0.5)), (range(1, 3), jnp.asarray([0.25, 0.125, 0.0]))]
    assert finite_losses(pending, images_of) == [(1, 0.5), (2, 0.25), (3, 0.125)]


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf, -jnp.inf])
def test_the_first_loss_that_is_not_finite_is_named(value: float) -> None:
    pending = [(range(0, 4), jnp.asarray([0.5, 0.5, value, jnp.nan]))]
    with pytest.raises(NonFiniteLossError, match=r"the loss of step 3 is .*: C; patches of step 3: B\)"):
        finite_losses(pending, images_of)


@pytest.mark.parametrize("place", ["params", "batch_stats", "moments"])
def test_what_a_step_made_infinite_is_seen(place: str) -> None:
    tree = {"params": jnp.ones(3), "batch_stats": jnp.ones(2), "moments": jnp.ones(2), "count": jnp.int32(4)}
    check_finite(tree, range(1, 2), images_of)
    tree[place] = tree[place].at[1].set(jnp.inf)
    with pytest.raises(
        NonFiniteLossError, match=r"^step 1 made .*\(patches of step 1: A, B\): training has diverged"
    ):
        check_finite(tree, range(1, 2), images_of)
    several = r"^one of the steps 1 to 4 made .*\(patches of steps 1 to 4: A, B, C, D\): training has"
    with pytest.raises(NonFiniteLossError, match=several):
        check_finite(tree, range(1, 5), images_of)
