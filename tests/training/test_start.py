"""How a training starts."""

import jax
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from nucseg_jax import devices
from nucseg_jax.models import create_model
from nucseg_jax.models.network import split_network
from nucseg_jax.training import optim, start
from nucseg_jax.training.step import Given


@pytest.mark.parametrize("average_decay", [0.0, 0.9])
def test_what_is_compiled_for_is_what_comes(tiny_config: ConfigDict, average_decay: float) -> None:
    """The step is compiled while the weights are drawn: for the same arrays, or it would be so again."""
    tiny_config.optim.average_decay = average_decay
    optimizer = optim.sgd(momentum=0.9, weight_decay=0.0)
    given = Given.of(optim.table(lambda step: 0.1, 1), seed=3)
    begun = start.fresh(tiny_config, devices.make_mesh(), optimizer, given)
    state = begun.state()
    assert begun.first == int(state.step) == 0
    assert jax.tree.structure(state) == jax.tree.structure(begun.shapes)
    for array, shape in zip(jax.tree.leaves(state), jax.tree.leaves(begun.shapes), strict=True):
        found = (array.shape, array.dtype, array.sharding, array.weak_type)
        assert found == (shape.shape, shape.dtype, shape.sharding, shape.weak_type)
    chosen = tiny_config.model
    model = create_model(
        chosen.name,
        num_classes=chosen.num_classes,
        width=chosen.width,
        rngs=nnx.Rngs(params=tiny_config.seed, dropout=tiny_config.seed),
    )
    _, params, _ = split_network(model)
    for one, other in zip(jax.tree.leaves(state.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(one, other)
