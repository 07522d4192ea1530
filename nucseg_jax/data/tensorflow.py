"""TensorFlow and TFDS, imported where a prepared dataset or tf.data needs them, and nowhere else."""

import os
from typing import Any

from nucseg_jax.errors import MissingExtraError


def import_tensorflow(*, instead: str = "") -> Any:
    """TensorFlow, kept off the accelerators: it would otherwise take their memory from JAX.

    Raises:
      MissingExtraError: it is not installed; the message ends with `instead`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # announces itself on stderr otherwise
    try:
        import tensorflow as tf
    except ImportError as error:
        raise MissingExtraError("data", error, instead) from error
    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
    return tf


def import_tfds() -> Any:
    import_tensorflow()
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise MissingExtraError("data", error) from error
    return tfds
