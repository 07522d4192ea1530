"""A network as StableHLO, in a file of `jax.export`: JAX alone runs it, and so does what reads StableHLO."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from nucseg_jax import devices
from nucseg_jax.models.network import FunctionalNetwork, Weights

PLATFORMS = ("cpu", "cuda", "tpu")


def program(
    network: FunctionalNetwork, weights: Weights, shape: tuple[int, int, int, int], platforms: Sequence[str]
) -> bytes:
    """`FunctionalNetwork.predict` with its weights: uint8[B,H,W,3] → float32 logits [B,H,W,C].

    Args:
      network, weights: the network.
      shape: of the images.
      platforms: of PLATFORMS. One for "cpu" alone has the convolutions that are fast there; one for several
        platforms has those of accelerators, which run everywhere.
    """
    params, batch_stats = jax.tree.map(np.asarray, weights)  # in the program, which no mesh belongs to
    with devices.traced_for("cpu" if set(platforms) == {"cpu"} else "tpu"):
        exported = jax.export.export(
            jax.jit(lambda images: network.predict(params, batch_stats, images)), platforms=list(platforms)
        )(jax.ShapeDtypeStruct(shape, jnp.uint8))
    return bytes(exported.serialize())


def runner(content: bytes) -> Callable[[NDArray[np.uint8]], NDArray[Any]] | None:
    """What runs a file's program here: images → logits; None where it is for other platforms."""
    exported = jax.export.deserialize(bytearray(content))
    if jax.export.default_export_platform() not in exported.platforms:
        return None
    call = jax.jit(exported.call)
    return lambda images: np.asarray(call(images))
