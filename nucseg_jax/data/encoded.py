"""The pixels of a packed dataset as encoded files: lossless WebP of images, PNG of all else."""

import hashlib
import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from nucseg_jax.data.dataset import MASKS, Example
from nucseg_jax.errors import DataError, in_short
from nucseg_jax.io.images import open_unbounded
from nucseg_jax.io.names import MOST_BYTES

SUFFIXES = {
    "image": ".webp",
    "label_map": ".png",
    "original_image": ".webp",
    "original_label_map": ".png",
    **dict.fromkeys(MASKS, ".png"),
}
"""Of the files, by what they hold."""

REQUIRED = {"image", "label_map", "original_label_map"}
"""What every example has."""

LONGEST_ID = MOST_BYTES - max(map(len, SUFFIXES.values()))
LARGEST_ID = np.iinfo(np.uint16).max
LARGEST_SIDE = 16383  # of a WebP image

REMEDY = "Pack the dataset again with `nucseg prepare pack --overwrite`, or copy the folder again"

_DTYPES: dict[str, type] = {"depth": np.uint8, "unknown_depth": bool, **dict.fromkeys(MASKS, bool)}
"""Of what is read, where its kind decides it."""

_OF_ONE_SIZE = (
    ("image", "label_map"),
    ("original_image", "original_label_map"),
    ("unannotated", "label_map"),
    ("original_unannotated", "original_label_map"),
)


def encoded(example: Example, *, scored: bool) -> dict[str, bytes]:
    """The files of an example, by what they hold.

    Args:
      example: whose pixels they hold.
      scored: with the original image.

    Raises:
      DataError: the format cannot hold the example.
    """
    pixels = {
        "image": example.image,
        "label_map": example.label_map,
        "original_label_map": example.original_label_map,
    }
    if scored:
        pixels["original_image"] = example.scored_image()
    masks = {kind: getattr(example, kind) for kind in MASKS}
    _check_limits(example.id, pixels)
    found = {
        kind: _encode_image(values) if kind.endswith("image") else _encode_labels(values)
        for kind, values in pixels.items()
    }
    return found | {kind: encode_png(mask) for kind, mask in masks.items() if mask is not None}


def _check_limits(example_id: str, pixels: Mapping[str, np.ndarray]) -> None:
    """Raise DataError for what 16-bit PNG, WebP or the name of a file cannot hold."""
    if len(os.fsencode(example_id)) > LONGEST_ID:
        raise DataError(
            f"{example_id}: has {len(os.fsencode(example_id))} bytes, and the id of a packed image at most "
            f"{LONGEST_ID}. Rename the image and its annotation, and prepare the dataset again"
        )
    for kind, values in pixels.items():
        if kind.endswith("label_map") and (values.min() < 0 or values.max() > LARGEST_ID):
            raise DataError(
                f"{example_id}: label map has ids from {values.min()} to {values.max()}, and a packed one "
                f"holds 0 to {LARGEST_ID}. Renumber the nuclei in the source and prepare the dataset again"
            )
        if kind.endswith("image") and max(values.shape) > LARGEST_SIDE:
            raise DataError(
                f"{example_id}: is {values.shape[0]}×{values.shape[1]}, and a packed image is at most "
                f"{LARGEST_SIDE} pixels high and wide. Cut it and prepare the dataset again"
            )


def _encode_image(image: np.ndarray) -> bytes:
    # Of lossless WebP's efforts, these cost PNG's time; more makes files no smaller.
    return _encode(image, "WEBP", lossless=True, quality=50, method=3)


def _encode_labels(labels: np.ndarray) -> bytes:
    return encode_png(labels.astype(np.uint16))


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG of bool, uint8 or uint16 [H,W]."""
    return _encode(pixels, "PNG")


def _encode(pixels: np.ndarray, file_format: str, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, file_format, **options)
    return content.getvalue()


def digest(content: bytes) -> str:
    """SHA-256, which shows that a file is the one that was written: neither format tells by itself."""
    return hashlib.sha256(content).hexdigest()


def decoded(name: str, content: bytes, sha256: str) -> np.ndarray:
    """The pixels of a file.

    Args:
      name: of the file, for messages.
      content: of it.
      sha256: of what was written.

    Raises:
      DataError: the content is not what was written, or no image.
    """
    if digest(content) != sha256:
        raise DataError(f"{name}: damaged or replaced: its SHA-256 is not the one in packed.json. {REMEDY}")
    try:
        # Pillow lets no other thread run while it decodes WebP, and takes a quarter longer.
        return _decode_webp(content) if content.startswith(b"RIFF") else _decode_png(content)
    except Exception as error:  # both raise errors of many types on what is no image
        raise DataError(f"{name}: cannot be read as an image ({in_short(error)}). {REMEDY}") from error


def _decode_webp(content: bytes) -> np.ndarray:
    import imagecodecs  # which packing does without

    return np.asarray(imagecodecs.webp_decode(content))


def _decode_png(content: bytes) -> np.ndarray:
    with open_unbounded(io.BytesIO(content), ("PNG",)) as image:
        if max(image.size) > LARGEST_SIDE:
            raise ValueError(f"{image.size[0]} × {image.size[1]} pixels are more than were ever packed")
        return np.array(image)


def check_kind(name: str, kind: str, pixels: np.ndarray) -> None:
    """Raise DataError unless an image is uint8 RGB, another raster 2-D, a mask bool, and a depth uint8."""
    depth = 3 if kind.endswith("image") else 2
    odd = pixels.ndim != depth or (depth == 3 and (pixels.shape[2] != 3 or pixels.dtype != np.uint8))
    if odd or pixels.dtype != _DTYPES.get(kind, pixels.dtype):
        raise DataError(f"{name}: its {kind} is {pixels.dtype} {pixels.shape}. {REMEDY}")


def check_together(name: str, pixels: Mapping[str, np.ndarray]) -> None:
    """Raise DataError unless each file of an example holds what it should, and all have one size."""
    for kind, values in pixels.items():
        check_kind(name, kind, values)
    for other, labels in _OF_ONE_SIZE:
        if other in pixels and pixels[other].shape[:2] != pixels[labels].shape:
            raise DataError(
                f"{name}: its {other} is {pixels[other].shape[:2]}, its {labels} {pixels[labels].shape}. "
                f"{REMEDY}"
            )
