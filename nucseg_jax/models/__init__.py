"""The networks by name: images [B,H,W,3] in [0, 1] → raw logits [B,H,W,C] at full size."""

import difflib
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.errors import UserError, in_short
from nucseg_jax.models.ce2p import CE2P
from nucseg_jax.models.efficient_unet import EfficientUNet, EfficientUNetHalf
from nucseg_jax.models.fc_densenet import FCDenseNet
from nucseg_jax.models.fcn8 import FCN
from nucseg_jax.models.initial import Draws, Streams
from nucseg_jax.models.psp_segnet import PSPSegNet
from nucseg_jax.models.recompute import choose
from nucseg_jax.models.segnet import SegNet
from nucseg_jax.models.unet import UNet

WIDEST, MOST_CLASSES = 64, 1000
"""Bounds of a network's width and of its classes: what is larger is a mistake."""

NETWORKS: dict[str, Callable[..., nnx.Module]] = {
    "fcn8": partial(FCN, (16, 8)),
    "fcn16": partial(FCN, (16,)),
    "fcn32": partial(FCN, ()),
    "fc_densenet": FCDenseNet,
    "unet": UNet,
    "segnet": SegNet,
    "psp_segnet": PSPSegNet,
    "self_correction": CE2P,
    "efficient_unet": EfficientUNet,
    "efficient_unet_half": EfficientUNetHalf,
}

IMAGENET_ENCODERS = (
    *("fcn8", "fcn16", "fcn32", "psp_segnet", "self_correction"),
    *("efficient_unet", "efficient_unet_half"),
)
"""Networks whose encoder is meant to start from ImageNet's weights."""

WHOLE_IMAGE_NETWORKS = ("psp_segnet", "self_correction")
"""Networks that pool over all they are given: what they say of a pixel changes with the size of a tile."""

REACH_PX = {"unet": 117}
"""How far from a pixel a network sees: what is farther away changes nothing of what it says there.

Only networks that see little more than a nucleus's surroundings: the others see further than is worth
computing around each tile. `tests/models/test_networks.py` measures it.
"""

STRIDE_PX = 32
"""Images must be a multiple of this on each side: the pooling of the deepest network."""


def create_model(
    name: str,
    *,
    num_classes: int = 2,
    width: float = 1.0,
    rngs: nnx.Rngs,
    dtype: DTypeLike = jnp.float32,
    recompute: str = "auto",
) -> nnx.Module:
    """Build a network with fresh weights.

    Args:
      name: one of NETWORKS.
      num_classes: channels of the logits, at least 2 (class 0 is the background).
      width: multiplies every channel count; 1.0 is the published network.
      rngs: `nnx.Rngs(params=seed, dropout=seed)`, or `nnx.Rngs(seed)`.
      dtype: compute dtype; parameters and batch statistics are float32.
      recompute: which activations the backward pass computes again rather than keeps, one of
        `recompute.RECOMPUTE`. It changes memory and time of training, and nothing else but rounding.

    Raises:
      UserError: unknown name (with the nearest known one), bad class count, width, dtype or recompute.
    """
    return _built(name, num_classes, width, dtype, recompute, Streams(rngs))


def design_model(
    name: str,
    *,
    num_classes: int = 2,
    width: float = 1.0,
    rngs: nnx.Rngs,
    dtype: DTypeLike = jnp.float32,
    recompute: str = "auto",
) -> tuple[nnx.Module, Draws]:
    """A network with shapes in place of its weights, and what draws these: those that `create_model` gives.

    Args:
      name, num_classes, width, rngs, dtype, recompute: as of `create_model`.

    Raises:
      UserError: as `create_model`.
    """
    draws = Draws()
    return _built(name, num_classes, width, dtype, recompute, Streams(rngs, draws)), draws


def _built(
    name: str, num_classes: int, width: float, dtype: DTypeLike, recompute: str, streams: Streams
) -> nnx.Module:
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, NETWORKS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(
            f"unknown network {in_short(repr(name))}: {hint}known are {', '.join(sorted(NETWORKS))}"
        )
    if not 2 <= num_classes <= MOST_CLASSES:
        raise UserError(
            f"num_classes must be at least 2 (class 0 is background) and at most {MOST_CLASSES:,}, "
            f"got {in_short(num_classes, 40)}"
        )
    if not 0 < width <= WIDEST:
        raise UserError(f"width must be positive and at most {WIDEST}, got {in_short(width, 40)}")
    if not _is_float(dtype):
        raise UserError(
            f"dtype must be a floating-point type such as float32 or bfloat16, got {in_short(repr(dtype))}"
        )
    model = NETWORKS[name](num_classes=num_classes, width=width, dtype=dtype, rngs=streams)
    choose(model, recompute)
    return model


def _is_float(dtype: DTypeLike) -> bool:
    try:
        return jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        return False


def count_parameters(params: nnx.State) -> int:
    """Number of trainable values in a parameter tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
