"""Losses on float32 logits [B,H,W,C]."""

import jax
import optax


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy over all pixels, as PyTorch's `CrossEntropyLoss`.

    Args:
      logits: float32[B,H,W,C].
      labels: int32[B,H,W], classes in 0 ... C-1.
    """
    # One-hot and not by index: the gradient of an indexed read is a scatter, slow on every backend.
    return optax.softmax_cross_entropy(logits, jax.nn.one_hot(labels, logits.shape[-1])).mean()
