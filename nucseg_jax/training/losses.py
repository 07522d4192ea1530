"""Losses on float32 logits [B,H,W,C]: each a scalar, to be minimised, with a finite gradient.

Where a loss needs labels they are annotations or soft labels, constants: no gradient goes to them.

Each takes `ignored`, bool[B,H,W], true on the pixels that have no label: neither their logits nor their
labels matter, and their gradient is 0. What is a mean over pixels is one over the others, of the whole batch.
Where all are ignored the loss is 0. None: no pixel is.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from nucseg_jax.devices import is_for_cpu
from nucseg_jax.models.targets import edge_map, spread, within_reach

DICE_PIXELS = 1.0
"""Pixels that `dice` counts as right in any case, so that a class without any has a gradient."""


def cross_entropy(logits: jax.Array, labels: jax.Array, ignored: jax.Array | None = None) -> jax.Array:
    """Mean cross-entropy over all pixels, as PyTorch's `CrossEntropyLoss`.

    Args:
      logits: float32[B,H,W,C].
      labels: int32[B,H,W], classes in 0 ... C-1.
      ignored: bool[B,H,W], see above.

    Returns:
      float32[], nats per pixel.
    """
    # One-hot and not by index: the gradient of an indexed read is a scatter, slow on every backend.
    losses = optax.softmax_cross_entropy(logits, jax.nn.one_hot(labels, logits.shape[-1]))
    return _mean(losses, ignored)


def weighted_cross_entropy(
    logits: jax.Array, truth: jax.Array, weights: Sequence[float], ignored: jax.Array | None = None
) -> jax.Array:
    """Cross-entropy where each class has a weight: their weighted mean over all pixels.

    Of labels it is PyTorch's `CrossEntropyLoss(weight=...)`.

    Args:
      logits: float32[B,H,W,C].
      truth: float32[B,H,W,C], probabilities of classes: one-hot labels, or soft ones.
      weights: one a class, positive.
      ignored: bool[B,H,W], see above.

    Returns:
      float32[], nats per pixel.
    """
    weighted = _without(truth * jnp.asarray(weights, jnp.float32).reshape(1, 1, 1, -1), ignored)
    loss, total = -(weighted * jax.nn.log_softmax(logits)).sum(), weighted.sum()
    return loss / (total if ignored is None else jnp.where(total > 0, total, 1.0))


def dice(logits: jax.Array, truth: jax.Array, ignored: jax.Array | None = None) -> jax.Array:
    """1 − the Dice coefficient of each class but the first, over the whole batch; their mean.

    With squares in the denominator, so that it is least where the probabilities are the truth's, soft or not.

    Source: Milletari, Navab & Ahmadi, V-Net (3DV 2016).

    Args:
      logits: float32[B,H,W,C].
      truth: float32[B,H,W,C], probabilities of classes.
      ignored: bool[B,H,W], see above.

    Returns:
      float32[], 0 to 1; a class that neither has counts as 0.
    """
    probabilities = _without(jax.nn.softmax(logits)[..., 1:], ignored)
    truth = _without(truth[..., 1:], ignored)
    shared = 2.0 * (probabilities * truth).sum((0, 1, 2))
    total = (probabilities**2 + truth**2).sum((0, 1, 2))
    return 1.0 - ((shared + DICE_PIXELS) / (total + DICE_PIXELS)).mean()


def kl_divergence(logits: jax.Array, probabilities: jax.Array, ignored: jax.Array | None = None) -> jax.Array:
    """Mean over all pixels of KL(probabilities ‖ softmax(logits)); of one-hot ones, the cross-entropy.

    Source: Kullback & Leibler, On Information and Sufficiency (1951); the term for soft labels of Li et al.,
    Self-Correction for Human Parsing (TPAMI 2020).

    Args:
      logits: float32[B,H,W,C].
      probabilities: float16 or float32 [B,H,W,C], ≥ 0, may be exactly 0; sum over C is 1. They are not
        normalised here: float16 ones whose sum is short by r can make a pixel's value as low as -r.
      ignored: bool[B,H,W], see above.

    Returns:
      float32[], nats per pixel.
    """
    probabilities = jax.lax.stop_gradient(probabilities.astype(jnp.float32))
    # A zero's logarithm is replaced by a finite number, so that 0·log 0 = 0.
    log_probabilities = jnp.log(jnp.maximum(probabilities, jnp.finfo(jnp.float32).tiny))
    difference = log_probabilities - jax.nn.log_softmax(logits)
    return _mean((probabilities * difference).sum(-1), ignored)


def balanced_cross_entropy(
    logits: jax.Array, labels: jax.Array, ignored: jax.Array | None = None
) -> jax.Array:
    """Cross-entropy of two classes where each weighs the other's share of the batch's pixels.

    The sum over pixels is divided by the sum of their weights, as PyTorch's `CrossEntropyLoss(weight=...)`
    does. With n₀ and n₁ pixels the weights sum to n₀·n₁ + n₁·n₀, so that this is the mean of the two
    classes' mean cross-entropies, and is computed so: a batch of one class only, which has no weight at all,
    then has that class's mean, its plain cross-entropy.

    Source: Xie & Tu, Holistically-Nested Edge Detection (ICCV 2015), eq. 2, for the weights; the edge branch
    of Li et al., Self-Correction for Human Parsing (TPAMI 2020).

    Args:
      logits: float32[B,H,W,2].
      labels: int32[B,H,W], 0 or 1.
      ignored: bool[B,H,W], see above.

    Returns:
      float32[], nats per pixel.
    """
    truth = _without(jax.nn.one_hot(labels, 2), ignored)
    losses = -truth * jax.nn.log_softmax(logits)
    pixels = truth.sum((0, 1, 2))
    means = losses.sum((0, 1, 2)) / jnp.maximum(pixels, 1)
    total, classes = means.sum(), (pixels > 0).sum()
    return total / (classes if ignored is None else jnp.maximum(classes, 1))


def lovasz_softmax(logits: jax.Array, labels: jax.Array, ignored: jax.Array | None = None) -> jax.Array:
    """Lovász-softmax: the convex extension of 1 - intersection over union, class by class.

    Computed in each image over the classes that its labels have, and averaged over these, then over the
    images; so a device that holds whole images needs nothing of the others' but the mean. Equal errors change
    neither the value nor the gradient: they share their weight equally. An image of which all is ignored does
    not count.

    Source: Berman, Rannen Triki & Blaschko, The Lovász-Softmax Loss (CVPR 2018).

    Args:
      logits: float32[B,H,W,C].
      labels: int32[B,H,W], classes in 0 ... C-1.
      ignored: bool[B,H,W], see above.

    Returns:
      float32[], 0 (no pixel wrong) to 1.
    """
    batch, height, width, classes = logits.shape
    pixels = height * width
    probabilities = jax.nn.softmax(logits).reshape(batch, pixels, classes).swapaxes(1, 2)
    truth = jax.nn.one_hot(labels.reshape(batch, pixels), classes, axis=1, dtype=jnp.bool)
    errors = jnp.where(truth, 1 - probabilities, probabilities)
    if ignored is not None:
        # As background without an error: the last of all, which no other pixel's weight depends on.
        left_out = ignored.reshape(batch, 1, pixels)
        truth, errors = truth & ~left_out, jnp.where(left_out, 0.0, errors)
    # The loss is linear in the errors while their order lasts: the weights are its gradient.
    weights = _jaccard_weights(jax.lax.stop_gradient(errors), truth)
    # A class without pixels has no intersection, so its weights and its loss are 0.
    class_losses = (errors * weights).sum(-1)
    image_losses, present = class_losses.sum(-1), truth.any(-1).sum(-1)
    if ignored is None:
        return (image_losses / present).mean()
    return (image_losses / jnp.maximum(present, 1)).sum() / jnp.maximum((present > 0).sum(), 1)


def edge_consistency(
    logits: jax.Array, edge_logits: jax.Array, labels: jax.Array, ignored: jax.Array | None = None
) -> jax.Array:
    """How far the edges of the predicted classes are from the predicted edges: mean |ẽ - e|.

    The mean is over the truth's edge pixels, `edge_map(labels)`: 0 if there are none. e is the edge branch's
    probability of an edge; ẽ is the largest `spread` of a class's probability, which is the edge map of the
    predicted classes where these are certain, and which unlike that of their argmax has a gradient.

    Source: Li et al., Self-Correction for Human Parsing (TPAMI 2020), the consistency term.

    Args:
      logits: float32[B,H,W,C].
      edge_logits: float32[B,H,W,2], no edge and edge.
      labels: int32[B,H,W], classes in 0 ... C-1.
      ignored: bool[B,H,W], see above; so are the pixels from which an edge map looks there.

    Returns:
      float32[], 0 to 1.
    """
    edges = jax.nn.softmax(edge_logits)[..., 1]
    edges_of_classes = spread(jax.nn.softmax(logits)).max(-1)
    counted = edge_map(labels).astype(jnp.float32)
    if ignored is not None:
        counted = jnp.where(within_reach(ignored), 0.0, counted)
    return (counted * jnp.abs(edges_of_classes - edges)).sum() / jnp.maximum(counted.sum(), 1)


def _mean(values: jax.Array, ignored: jax.Array | None) -> jax.Array:
    """Mean of values [B,H,W] over the pixels that are not ignored; 0 where all are."""
    if ignored is None:
        return values.mean()
    return _without(values, ignored).sum() / jnp.maximum((~ignored).sum(), 1)


def _without(values: jax.Array, ignored: jax.Array | None) -> jax.Array:
    """Values [B,H,W] or [B,H,W,C] with 0 on the pixels that are ignored."""
    if ignored is None:
        return values
    return jnp.where(ignored if values.ndim == ignored.ndim else ignored[..., None], 0.0, values)


def _jaccard_weights(errors: jax.Array, foreground: jax.Array) -> jax.Array:
    """The Lovász extension's gradient: what each error adds to 1 - IoU, errors from the largest down.

    With P the foreground's pixels and U = P + the background's pixels of larger error, a foreground pixel
    takes 1 from the intersection I and adds 1/U; a background pixel adds 1 to U, and so I/U - I/(U+1). For k
    equal errors in the background that is k shares of I/(U·(U+k)). Both are free of the cancellation that
    subtracting one Jaccard loss from the next has.

    Args:
      errors: float32[B,C,N], 0 to 1.
      foreground: bool[B,C,N].

    Returns:
      float32[B,C,N], 0 for a class without foreground.
    """
    # A float that is not negative sorts as its bits do, which leave one for the foreground up to 1.0.
    bits = jax.lax.bitcast_convert_type(jnp.clip(errors, 0, 1), jnp.int32)
    keys = 2 * bits + foreground
    if is_for_cpu():
        # XLA's CPU backend sorts lone integers in a quarter of the time of floats, or of keys with values.
        ordered = jax.lax.sort(keys, is_stable=False)
        return jnp.take_along_axis(_weights_in_order(ordered), _last_place(ordered, keys), axis=2)
    # Elsewhere a second sort brings them back: reading single values is slow on GPUs, and far slower on TPUs.
    places = jax.lax.broadcasted_iota(jnp.int32, keys.shape, 2)
    ordered, origins = jax.lax.sort((keys, places), num_keys=1, is_stable=False)
    return jax.lax.sort((origins, _weights_in_order(ordered)), num_keys=1, is_stable=False)[1]


def _weights_in_order(ordered: jax.Array) -> jax.Array:
    """The weights of ordered keys, the same for equal ones: int32[B,C,N] → float32[B,C,N]."""
    pixels = ordered.shape[-1]
    is_foreground = ordered & 1
    place = jax.lax.broadcasted_iota(jnp.int32, ordered.shape, 2)
    changes = ordered[..., 1:] != ordered[..., :-1]
    starts = jnp.pad(changes, ((0, 0), (0, 0), (1, 0)), constant_values=True)
    ends = jnp.pad(changes, ((0, 0), (0, 0), (0, 1)), constant_values=True)
    first = jax.lax.cummax(jnp.where(starts, place, 0), axis=2)
    last = jax.lax.cummin(jnp.where(ends, place, pixels), axis=2, reverse=True)
    # Among equal keys it grows in the foreground, and the union stays; in the background it stays.
    intersection = jax.lax.cumsum(is_foreground, axis=2)
    union = pixels - (jnp.where(is_foreground == 1, place, last) + 1 - intersection)
    union_with_equals = pixels - (first - intersection)
    # Without foreground the first union is empty and the intersection 0, so any divisor does.
    divided = intersection / jnp.maximum(union, 1) / union_with_equals
    return jnp.where(is_foreground == 1, 1 / union, divided)


def _last_place(ordered: jax.Array, keys: jax.Array) -> jax.Array:
    """Binary search: the last place of each key in the ordered keys. Both int32[B,C,N] → int32[B,C,N]."""
    size = keys.shape[-1]
    steps = (size - 1).bit_length()

    def narrow(i: jax.Array, place: jax.Array) -> jax.Array:
        further = place + (1 << (steps - 1 - i))
        there = jnp.take_along_axis(ordered, jnp.minimum(further, size - 1), axis=2)
        return jnp.where((further < size) & (there <= keys), further, place)

    return jax.lax.fori_loop(0, steps, narrow, jnp.zeros_like(keys))
