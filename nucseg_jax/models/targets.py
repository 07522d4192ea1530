"""What a network is trained to say of each pixel: classes from an instance label map."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from nucseg_jax.errors import UserError

EDGE_PX = 2
"""How far an edge reaches to either side: a pixel's window is (2·EDGE_PX + 1)² pixels."""

EDGE_CLASSES = 2
"""What an edge branch says of a pixel: no edge, edge."""


def check_classes(num_classes: int) -> None:
    """Raise UserError unless a label map says what so many classes are."""
    if num_classes not in (2, 3):
        raise UserError(
            "to train, model.num_classes must be 2 (background, nucleus) or 3 (and the nucleus's boundary), "
            f"got {num_classes}"
        )


def class_map(label_map: jax.Array, num_classes: int) -> jax.Array:
    """Labels of nuclei → classes: 0 background, 1 nucleus and, with three classes, 2 its boundary.

    The boundary is the nucleus's own part of `edge_map`, so that nuclei that touch have two boundaries
    between their insides.

    Args:
      label_map: int32 [B, H, W], 0 = background.
      num_classes: 2 or 3 (`check_classes`).

    Returns:
      int32 [B, H, W].
    """
    nucleus = (label_map > 0).astype(jnp.int32)
    if num_classes == 2:
        return nucleus
    return nucleus + nucleus * edge_map(label_map)


def class_probabilities(label_map: jax.Array, num_classes: int, depth: jax.Array | None = None) -> jax.Array:
    """What each pixel is, as probabilities of the classes.

    Args:
      label_map: int32 [B, H, W], 0 = background.
      num_classes: 2 or 3.
      depth: uint8 [B, H, W], how deep a pixel lies in its nucleus, 255 = as deep as any
        (`data.distances.relative_depth`): a pixel is boundary for what it lacks. None: the boundary is
        `class_map`'s.

    Returns:
      float32 [B, H, W, C], their sum is 1.
    """
    if depth is None or num_classes < 3:
        return jax.nn.one_hot(class_map(label_map, num_classes), num_classes)
    nucleus = (label_map > 0).astype(jnp.float32)
    inside = nucleus * depth.astype(jnp.float32) / 255.0
    return jnp.stack([1.0 - nucleus, inside, nucleus - inside], axis=-1)


def edge_map(label_map: jax.Array) -> jax.Array:
    """1 on the pixels within 2 px (`EDGE_PX`) of a pixel of another label, on either side; else 0.

    Another label is another nucleus, or the background for a nucleus, or a nucleus for the background.
    Where an image ends there is no edge.

    Args:
      label_map: int32 [B, H, W], labels or classes from 0 up.

    Returns:
      int32 [B, H, W].
    """
    return (spread(label_map) > 0).astype(jnp.int32)


def within_reach(unannotated: jax.Array) -> jax.Array:
    """True on the pixels whose window of `EDGE_PX` holds one that nobody annotated, itself included.

    What `edge_map` says of them may be wrong: a nucleus that ends at the border of what is annotated goes on
    behind it, and another may begin there.

    Args:
      unannotated: bool [B, H, W], or any pixels of which the label is not known.

    Returns:
      bool [B, H, W].
    """
    reached = unannotated
    for axis in (1, 2):
        reached = _slide(jnp.logical_or, reached, axis)
    return reached


def unknown_classes(unannotated: jax.Array, num_classes: int) -> jax.Array:
    """True on the pixels whose class (`class_map`) nobody knows.

    With two classes they are those that nobody annotated. With three also those within reach of them, nuclei
    and background alike, so that neither is rarer along the border than elsewhere.

    Args:
      unannotated: bool [B, H, W].
      num_classes: 2 or 3.

    Returns:
      bool [B, H, W].
    """
    return unannotated if num_classes == 2 else within_reach(unannotated)


def spread(values: jax.Array) -> jax.Array:
    """Maximum minus minimum in the window of `EDGE_PX` around each pixel, cut where the image ends.

    Args:
      values: [B, H, W] or [B, H, W, C], each channel by itself.

    Returns:
      As `values`. Of floats it has a gradient: it goes to the pixels that are the extremes.
    """
    largest = smallest = values
    for axis in (1, 2):
        largest = _slide(jnp.maximum, largest, axis)
        smallest = _slide(jnp.minimum, smallest, axis)
    return largest - smallest


def _slide(pick: Callable[[jax.Array, jax.Array], jax.Array], values: jax.Array, axis: int) -> jax.Array:
    """`pick` (maximum or minimum) over the pixels within EDGE_PX along an axis.

    Of shifted copies and not by `reduce_window`, whose gradient is a scatter and several times slower.
    """
    # A repeated outermost pixel is in the window already, so it changes neither extreme.
    first = jax.lax.slice_in_dim(values, 0, 1, axis=axis)
    last = jax.lax.slice_in_dim(values, -1, None, axis=axis)
    values = jnp.concatenate([first] * EDGE_PX + [values] + [last] * EDGE_PX, axis)
    covered, window = 1, 2 * EDGE_PX + 1
    while covered < window:
        shift = min(covered, window - covered)
        kept = values.shape[axis] - shift
        values = pick(
            jax.lax.slice_in_dim(values, 0, kept, axis=axis),
            jax.lax.slice_in_dim(values, shift, None, axis=axis),
        )
        covered += shift
    return values
