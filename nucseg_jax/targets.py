"""What a network is trained to say of each pixel: classes from an instance label map."""

import jax
import jax.numpy as jnp

from nucseg_jax.errors import UserError

BOUNDARY_PX = 2
"""How far a nucleus's boundary reaches inwards."""


def check_classes(num_classes: int) -> None:
    """Raise UserError unless a label map says what so many classes are."""
    if num_classes not in (2, 3):
        raise UserError(
            "to train, model.num_classes must be 2 (background, nucleus) or 3 (and the nucleus's boundary), "
            f"got {num_classes}"
        )


def class_map(label_map: jax.Array, num_classes: int) -> jax.Array:
    """Labels of nuclei → classes: 0 background, 1 nucleus and, with three classes, 2 its boundary.

    The boundary is the nucleus's own pixels within 2 px of another nucleus or of the background, so that
    nuclei that touch have two boundaries between their insides. Where an image ends there is none.

    Args:
      label_map: int32 [B, H, W], 0 = background.
      num_classes: 2 or 3 (`check_classes`).

    Returns:
      int32 [B, H, W].
    """
    nucleus = (label_map > 0).astype(jnp.int32)
    if num_classes == 2:
        return nucleus
    window = (1, 2 * BOUNDARY_PX + 1, 2 * BOUNDARY_PX + 1)
    strides = (1, 1, 1)
    last = jnp.iinfo(label_map.dtype).max
    largest = jax.lax.reduce_window(label_map, -last, jax.lax.max, window, strides, "SAME")
    smallest = jax.lax.reduce_window(label_map, last, jax.lax.min, window, strides, "SAME")
    return nucleus * (1 + (largest != smallest).astype(jnp.int32))
