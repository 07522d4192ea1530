"""A network as pure functions of its parameter and batch-statistics trees."""

import jax
import jax.numpy as jnp
from flax import nnx

CHANNEL_ORDERS = ("RGB", "BGR")


def network_input(images: jax.Array, channel_order: str = "RGB") -> jax.Array:
    """uint8[B,H,W,3] RGB → float32[B,H,W,3] in [0, 1], in the order the checkpoint was trained with."""
    if channel_order not in CHANNEL_ORDERS:
        raise ValueError(f"model.channel_order must be one of {CHANNEL_ORDERS}, got {channel_order!r}")
    images = images.astype(jnp.float32) / 255.0
    return images if channel_order == "RGB" else images[..., ::-1]


class FunctionalNetwork:
    """The forward passes of `model`; its weights at construction are `params` and `batch_stats`.

    Both trees are `nnx.State`s: what training updates, checkpoints store and self-correction averages.
    """

    def __init__(self, model: nnx.Module, channel_order: str = "RGB"):
        self.channel_order = channel_order
        model.eval()
        self._inference, *states = nnx.split(model, nnx.Param, nnx.BatchStat, nnx.RngState)
        self.params, self.batch_stats, self._rngs = states
        model.train()
        self._training = nnx.graphdef(model)

    def predict(self, params: nnx.State, batch_stats: nnx.State, images: jax.Array) -> jax.Array:
        """uint8[B,H,W,3] → float32 logits [B,H,W,C] with the running batch statistics."""
        model = nnx.merge(self._inference, params, batch_stats, self._rngs, copy=True)
        return model(network_input(images, self.channel_order)).astype(jnp.float32)

    def train(
        self, params: nnx.State, batch_stats: nnx.State, images: jax.Array, dropout_key: jax.Array
    ) -> tuple[jax.Array, nnx.State]:
        """uint8[B,H,W,3] → (float32 logits [B,H,W,C], updated batch statistics)."""
        model = nnx.merge(self._training, params, batch_stats, self._rngs, copy=True)
        nnx.reseed(model, dropout=dropout_key)
        logits = model(network_input(images, self.channel_order)).astype(jnp.float32)
        return logits, nnx.state(model, nnx.BatchStat)
