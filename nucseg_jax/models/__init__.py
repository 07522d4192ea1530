"""The networks by name: images [B,H,W,3] in [0, 1] → raw logits [B,H,W,C] at full size."""

import difflib
from typing import Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.models.psp_segnet import PSPSegNet
from nucseg_jax.models.unet import UNet

NETWORKS = {"psp_segnet": PSPSegNet, "unet": UNet}


class Network(Protocol):
    """What every network offers; `.train()` and `.eval()` switch batch norm and dropout."""

    def __call__(self, images: jax.Array) -> jax.Array: ...


def create_model(
    name: str,
    *,
    num_classes: int = 2,
    width: float = 1.0,
    rngs: nnx.Rngs,
    dtype: DTypeLike = jnp.float32,
) -> nnx.Module:
    """Build a network with fresh weights.

    Args:
      name: one of NETWORKS.
      num_classes: channels of the logits, at least 2 (class 0 is the background).
      width: multiplies every channel count; 1.0 is the published network.
      rngs: `nnx.Rngs(seed)`; streams `params` and, where there is dropout, `dropout`.
      dtype: compute dtype; parameters and batch statistics are float32.

    Raises:
      ValueError: unknown name (with the nearest known one), bad class count or width.
    """
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, NETWORKS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown network {name!r}: {hint}known are {', '.join(sorted(NETWORKS))}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2 (class 0 is background), got {num_classes}")
    if not width > 0:
        raise ValueError(f"width must be positive, got {width}")
    return NETWORKS[name](num_classes=num_classes, width=width, dtype=dtype, rngs=rngs)


def count_parameters(model: nnx.Module) -> int:
    """Number of trainable values (batch statistics excluded)."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
