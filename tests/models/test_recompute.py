"""What the backward pass computes again: the result stays, the memory is less."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

from benchmarks.collectives import messages
from nucseg_jax import devices
from nucseg_jax.models import NETWORKS, create_model
from nucseg_jax.models.network import split_network
from nucseg_jax.training.step import compile_step
from tests.abstract_programs import config_of, programs
from tests.networks import QUICK, by_weight

MOST_MEMORY = {
    "fcn8": 0.6,
    "fc_densenet": 0.6,
    "unet": 0.6,
    "segnet": 0.5,
    "psp_segnet": 0.7,
    "self_correction": 0.6,
    "efficient_unet": 0.5,
}
"""Of a step's temporary memory without recomputation, for "blocks"."""

BLOCKS = {
    "fcn8": 5 + 5,
    "fc_densenet": 91 + 5,  # layers of dense blocks, transitions down
    "unet": 5 + 4,
    "segnet": 5 + 5,
    "psp_segnet": 34 + 5,
    "self_correction": 34 + 4,
    "efficient_unet": 17 + 5,
}
"""Parts of each network that are computed again: of the encoder, of the decoder."""

# FCN-16 and -32 differ from FCN-8 in which features they add, EfficientUNetHalf in where it ends.
ONE_OF_EACH = by_weight(NETWORKS.keys() - {"fcn16", "fcn32", "efficient_unet_half"})


class Backward(NamedTuple):
    gradients: nnx.State
    batch_stats: nnx.State
    temporary_bytes: int


def backward(name: str, recompute: str) -> Backward:
    """Of one batch in training with dropout, in float64: in float32 rounding takes a ReLU over its edge."""
    streams = nnx.Rngs(params=1, dropout=1)
    model = create_model(name, width=1 / 32, rngs=streams, dtype="float64", recompute=recompute)
    network, params, batch_stats = split_network(model)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)

    def loss(params: nnx.State) -> tuple[jax.Array, nnx.State]:
        logits, moved = network.train(params, batch_stats, images, jax.random.key(3))
        return sum(jnp.square(y).mean() for y in jax.tree.leaves(logits)), moved

    options = devices.compiler_options(devices.make_mesh()) | QUICK
    compiled = jax.jit(jax.grad(loss, has_aux=True), compiler_options=options).lower(params).compile()
    planned: Any = compiled.memory_analysis()
    return Backward(*compiled(params), planned.temp_size_in_bytes)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_gradients_and_statistics_stay_and_memory_shrinks(name: str) -> None:
    with jax.enable_x64(True):
        kept, again = (backward(name, recompute) for recompute in ("none", "blocks"))
    assert again.temporary_bytes <= MOST_MEMORY[name] * kept.temporary_bytes
    expected, found = (
        dict(nnx.to_flat_state(nnx.merge_state(one.gradients, one.batch_stats))) for one in (kept, again)
    )
    assert found.keys() == expected.keys()
    largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(kept.gradients))
    for path, leaf in expected.items():
        np.testing.assert_allclose(
            found[path][...], leaf[...], rtol=1e-6, atol=1e-9 * largest, err_msg=str(path)
        )


def lowered(name: str, recompute: str, what: str) -> str:
    """The step of training, or inference, for a TPU in StableHLO."""
    config = config_of(name, side=64)
    config.model.recompute = recompute
    function, arguments = programs(config)[what]
    with devices.traced_for("tpu"):
        # A function of its own: `jit` keeps what it has traced.
        exported = export.export(jax.jit(lambda *x: function(*x)), platforms=["tpu"])(*arguments)
    return exported.mlir_module()


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_each_block_is_computed_again_in_training_and_inference_stays_the_same_program(name: str) -> None:
    """XLA's barrier keeps what is computed again apart from the first time."""
    inference = [lowered(name, recompute, "inference") for recompute in ("none", "blocks")]
    assert inference[0] == inference[1]
    none, blocks = (lowered(name, recompute, "training").count(BARRIER) for recompute in ("none", "blocks"))
    assert blocks - none == BLOCKS[name]


@pytest.mark.slow
def test_fc_densenet_computes_its_dense_layers_again_unless_it_is_told_otherwise() -> None:
    none, auto = (lowered("fc_densenet", recompute, "training") for recompute in ("none", "auto"))
    assert auto.count(BARRIER) - none.count(BARRIER) == 91


@pytest.mark.slow
def test_devices_tell_each_other_nothing_again() -> None:
    """Blocks keep the moments of a batch norm, which took a message."""
    mesh, config, sent = devices.make_mesh(), config_of("fcn32", side=32), {}
    for recompute in ("none", "blocks"):
        config.model.recompute = recompute
        step, (state, batch) = programs(config, rows=mesh.devices.size)["training"]
        arguments = placed(state, devices.replicated(mesh)), placed(batch, devices.split(mesh))
        options = devices.compiler_options(mesh) | QUICK
        text = compile_step(mesh, step).lower(*arguments).compile(compiler_options=options).as_text()
        sent[recompute] = sum(sum(message.sizes) for message in messages(text))
    assert sent["blocks"] == sent["none"] > 0


def placed(tree: Any, sharding: jax.sharding.NamedSharding) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


BARRIER = "stablehlo.optimization_barrier"
