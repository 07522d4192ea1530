"""A network as pure functions of its parameter and batch-statistics trees."""

import jax
import jax.numpy as jnp
from flax import nnx

from nucseg_jax.errors import UserError

CHANNEL_ORDERS = ("RGB", "BGR")


class FunctionalNetwork:
    """The forward passes of a network without its weights; made by `split_network`.

    Args:
      inference, training: the network's structure in its two modes.
      rngs: its random streams.
      channel_order: of the images it was trained with.
    """

    def __init__(self, inference: nnx.GraphDef, training: nnx.GraphDef, rngs: nnx.State, channel_order: str):
        self._inference, self._training, self._rngs = inference, training, rngs
        self._channel_order = channel_order

    def predict(self, params: nnx.State, batch_stats: nnx.State, images: jax.Array) -> jax.Array:
        """uint8[B,H,W,3] → float32 logits [B,H,W,C] with the running batch statistics."""
        model = nnx.merge(self._inference, params, batch_stats, self._rngs, copy=True)
        return model(network_input(images, self._channel_order)).astype(jnp.float32)

    def train(
        self, params: nnx.State, batch_stats: nnx.State, images: jax.Array, dropout_key: jax.Array
    ) -> tuple[jax.Array, nnx.State]:
        """uint8[B,H,W,3] → (float32 logits [B,H,W,C], updated batch statistics)."""
        model = nnx.merge(self._training, params, batch_stats, self._rngs, copy=True)
        nnx.reseed(model, dropout=dropout_key)
        logits = model(network_input(images, self._channel_order)).astype(jnp.float32)
        return logits, nnx.state(model, nnx.BatchStat)


def split_network(
    model: nnx.Module, channel_order: str = "RGB"
) -> tuple[FunctionalNetwork, nnx.State, nnx.State]:
    """A model → its forward passes, its parameters, its batch statistics.

    Both trees are what training updates, checkpoints store and self-correction averages.

    Raises:
      UserError: an unknown channel order.
      ValueError: the model draws random numbers from another stream than `dropout`, which would repeat
        at every step.
    """
    if channel_order not in CHANNEL_ORDERS:
        raise UserError(f"model.channel_order must be one of {CHANNEL_ORDERS}, got {channel_order!r}")
    model.eval()
    inference, *states = nnx.split(model, nnx.Param, nnx.BatchStat, nnx.RngState)
    params, batch_stats, rngs = states
    streams = {leaf.tag for _, leaf in nnx.to_flat_state(rngs)}
    if streams - {"dropout"}:
        raise ValueError(f"build the model with nnx.Rngs(params=..., dropout=...): it holds {streams}")
    model.train()
    network = FunctionalNetwork(inference, nnx.graphdef(model), rngs, channel_order)
    return network, params, batch_stats


def network_input(images: jax.Array, channel_order: str) -> jax.Array:
    """uint8[B,H,W,3] RGB → float32[B,H,W,3] in [0, 1], channels in the given order."""
    images = images.astype(jnp.float32) / 255.0
    return images if channel_order == "RGB" else images[..., ::-1]
