"""A network as pure functions of its parameter and batch-statistics trees."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from nucseg_jax.devices import by_device, traced_for
from nucseg_jax.errors import UserError, in_short
from nucseg_jax.models.batch_norm import BatchNorm
from nucseg_jax.stain import StainNormalizer

CHANNEL_ORDERS = ("RGB", "BGR")

MOST_SCALE = 16
"""How much larger or smaller than they came a network may see its images."""

Augmentation = Callable[[jax.Array, jax.Array], jax.Array]
"""(float[B,H,W,3] grey levels, key) → the same, changed at random."""


@dataclass(frozen=True)
class InputFormat:
    """How a network takes images: a property of its weights.

    Args:
      channel_order: RGB, or BGR as OpenCV reads.
      scale: size at which it sees them; its logits are scaled back. 0.5: a 512-pixel patch as 256.
      stain: normalises each image's stains as the first step of the network; None: not here.

    Raises:
      UserError: an unknown channel order, or a scale that is not from 1/MOST_SCALE to MOST_SCALE.
    """

    channel_order: str = "RGB"
    scale: float = 1.0
    stain: StainNormalizer | None = None

    def __post_init__(self) -> None:
        if self.channel_order not in CHANNEL_ORDERS:
            raise UserError(
                f"model.channel_order must be one of {CHANNEL_ORDERS}, got {self.channel_order!r}"
            )
        if not 1 / MOST_SCALE <= self.scale <= MOST_SCALE:
            raise UserError(
                f"model.input_scale must be from 1/{MOST_SCALE} to {MOST_SCALE}, "
                f"got {in_short(self.scale, 40)}"
            )


class Weights(NamedTuple):
    """All that a trained network is: both trees of one shape, dtype and placement at every step."""

    params: nnx.State
    batch_stats: nnx.State


class Logits(NamedTuple):
    """float32 logits at the images' size.

    Attributes:
      classes: [B,H,W,C], the network's result.
      parsing, edge: [B,H,W,C] and [B,H,W,2] of the other two branches of `self_correction`; None from every
        other network.
    """

    classes: jax.Array
    parsing: jax.Array | None = None
    edge: jax.Array | None = None


class FunctionalNetwork:
    """The forward passes of a network without its weights; made by `split_network`.

    Args:
      inference, training: the network's structure in its two modes.
      rngs: its random streams.
      input_format: how it takes images.
      augmentation: of its training images, after their stain normalisation.
    """

    def __init__(
        self,
        inference: nnx.GraphDef,
        training: nnx.GraphDef,
        rngs: nnx.State,
        input_format: InputFormat,
        augmentation: Augmentation | None,
    ):
        self._inference, self._training, self._rngs = inference, training, rngs
        self._input_format = input_format
        self._augmentation = augmentation

    def predict(self, params: nnx.State, batch_stats: nnx.State, images: jax.Array) -> jax.Array:
        """uint8[B,H,W,3] → float32 logits [B,H,W,C] with the running batch statistics."""
        return self.branches(params, batch_stats, images).classes

    def branches(self, params: nnx.State, batch_stats: nnx.State, images: jax.Array) -> Logits:
        """uint8[B,H,W,3] → the logits of all branches with the running batch statistics."""
        model = nnx.merge(self._inference, params, batch_stats, self._rngs, copy=True)
        return self._logits(model, images)

    def probabilities(self, params: nnx.State, batch_stats: nnx.State, images: jax.Array) -> jax.Array:
        """uint8[B,H,W,3] → float32 class probabilities [B,H,W,C]: the softmax of `predict`."""
        return jax.nn.softmax(self.predict(params, batch_stats, images))

    def train(
        self, params: nnx.State, batch_stats: nnx.State, images: jax.Array, key: jax.Array
    ) -> tuple[Logits, nnx.State]:
        """uint8[B,H,W,3] → (logits of all branches, updated batch statistics).

        Dropout and augmentation are functions of the key.
        """
        model = nnx.merge(self._training, params, batch_stats, self._rngs, copy=True)
        nnx.reseed(model, dropout=key)
        # Another stream than dropout's, which a network may or may not have.
        augment_key = jax.random.fold_in(key, _AUGMENTATION_STREAM)
        augmentation = self._augmentation
        augment = None if augmentation is None else lambda grey: augmentation(grey, augment_key)
        logits = self._logits(model, images, augment)
        return logits, nnx.state(model, nnx.BatchStat)

    def batch_statistics(self, params: nnx.State, batch_stats: nnx.State, images: jax.Array) -> nnx.State:
        """uint8[B,H,W,3] → the batch statistics of these images alone, without dropout.

        Every batch norm normalises by the batch, as in training; `batch_stats` gives the tree's structure.
        """
        model = nnx.merge(self._inference, params, batch_stats, self._rngs, copy=True)
        model.set_attributes(BatchNorm, use_running_average=False, momentum=0.0, raise_if_not_found=False)
        self._logits(model, images)
        return nnx.state(model, nnx.BatchStat)

    def _logits(
        self, model: Any, images: jax.Array, augment: Callable[[jax.Array], jax.Array] | None = None
    ) -> Logits:
        x = network_input(images, self._input_format, augment)
        if hasattr(model, "branches"):
            found = model.branches(x)
            logits = Logits(found.fusion, found.parsing, found.edge)
        else:
            logits = Logits(model(x))
        return jax.tree.map(lambda y: _resize(y.astype(jnp.float32), images.shape[1:3]), logits)


_AUGMENTATION_STREAM = 0x57A1


def split_network(
    model: nnx.Module,
    input_format: InputFormat = InputFormat(),  # noqa: B008 - immutable
    augmentation: Augmentation | None = None,
    *,
    freeze_statistics: bool = False,
) -> tuple[FunctionalNetwork, nnx.State, nnx.State]:
    """A model → its forward passes, its parameters, its batch statistics.

    Both trees are what training updates, checkpoints store and self-correction averages.

    Args:
      model: of weights, or of their shapes and dtypes.
      input_format: how it takes images.
      augmentation: of its training images, after their stain normalisation.
      freeze_statistics: training normalises by the running statistics, too, and leaves them as they are.

    Raises:
      ValueError: the model draws random numbers from another stream than `dropout`, which would repeat
        at every step.
    """
    model.eval()
    inference, *states = nnx.split(model, nnx.Param, nnx.BatchStat, nnx.RngState)
    params, batch_stats, rngs = states
    streams = {leaf.tag for _, leaf in nnx.to_flat_state(rngs)}
    if streams - {"dropout"}:
        raise ValueError(f"build the model with nnx.Rngs(params=..., dropout=...): it holds {streams}")
    model.train()
    if freeze_statistics:
        model.set_attributes(BatchNorm, use_running_average=True, raise_if_not_found=False)
    # Any state will do, so that a model of shapes alone can be split, too: each training step sets the
    # streams, and inference draws nothing.
    rngs = jax.tree.map(_any_state, rngs)
    network = FunctionalNetwork(inference, nnx.graphdef(model), rngs, input_format, augmentation)
    return network, params, batch_stats


def _any_state(leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.Array:
    """A state of a random stream: its key, or how often it was drawn from."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.key(0)
    return jnp.asarray(np.zeros(leaf.shape, leaf.dtype))


def forward_flops(
    network: FunctionalNetwork, params: Any, batch_stats: Any, shape: tuple[int, int, int, int]
) -> float:
    """FLOPs of one forward pass in inference mode by XLA's cost analysis (a multiply-add is two).

    Counted before any optimisation, on XLA's own convolutions: as lowered for a TPU, whatever runs here. What
    the CPU path computes in another way, and what is computed again to save memory, is not work done. A layer
    that is defined with fewer products than the published one counts with those fewer.

    Args:
      network: its forward passes.
      params, batch_stats: its weights, or their shapes and dtypes.
      shape: of the images, [B,H,W,3].
    """
    weights = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (params, batch_stats))
    # GPU plugins have no analysis of what is not compiled yet.
    with jax.default_device(jax.devices("cpu")[0]), traced_for("tpu"):
        traced = jax.jit(network.predict).trace(*weights, jax.ShapeDtypeStruct(shape, jnp.uint8))
        return (traced.lower(lowering_platforms=("tpu",)).cost_analysis() or {})["flops"]


def network_input(
    images: jax.Array,
    input_format: InputFormat,
    augment: Callable[[jax.Array], jax.Array] | None = None,
) -> jax.Array:
    """uint8[B,H,W,3] RGB → float32[B,h,w,3] in [0, 1], as the network takes them.

    Normalised, augmented, then scaled as OpenCV does it: bilinear between pixel centres, without smoothing
    before.
    """
    images = images.astype(jnp.float32)
    if input_format.stain is not None:
        normalize = input_format.stain.normalize
        images = by_device(lambda own: normalize(own).images, images)
    if augment is not None:
        images = augment(images)
    images = images / 255.0
    images = images if input_format.channel_order == "RGB" else images[..., ::-1]
    return _resize(images, [round(side * input_format.scale) for side in images.shape[1:3]])


def _resize(x: jax.Array, size: Sequence[int]) -> jax.Array:
    if x.shape[1:3] == tuple(size):
        return x
    return jax.image.resize(x, (x.shape[0], *size, x.shape[-1]), "bilinear", antialias=False)
